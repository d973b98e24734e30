import { type Codec, decode, encode, type Infer } from '@messageu/protocol'
import {
  answers,
  type Delivery,
  errorOf,
  events,
  type Frame,
  frameHeadBytes,
  type Hello,
  type Link,
  type Notice,
  type OperationName,
  operations,
  limits as protocol,
  Refusal,
  RefusedError,
  readFrames,
  writeFrame,
} from '@messageu/protocol/v3'
import type { Clock } from './clock.ts'
import { badAnswer, ClientError } from './errors.ts'
import { Heartbeat } from './heartbeat.ts'
import { limits } from './limits.ts'
import type { Channel, Transport } from './transport.ts'

export type RequestOf<N extends OperationName> = Infer<(typeof operations)[N]['request']>
export type ResponseOf<N extends OperationName> = Infer<(typeof operations)[N]['response']>

/** What the server says unasked. A listener that throws ends the wire: the server broke the protocol. */
export interface WireEvents {
  deliver(delivery: Delivery): void
  notice(notice: Notice): void
}

interface Outstanding {
  readonly bytes: number
  readonly sentMs: number
  answer(frame: Frame): void
  lose(why: ClientError): void
}

interface Queued {
  readonly code: number
  readonly body: Uint8Array
  readonly settle: Pick<Outstanding, 'answer' | 'lose'>
}

/**
 * One WebSocket to a server, from its first words to the end: asks, matches answers by number, and ends the connection
 * at the first thing that no server may do. Protocol 3 §2.
 */
export class Wire implements Disposable {
  readonly #clock: Clock
  readonly #greeting = Promise.withResolvers<Hello>()
  readonly #closed = Promise.withResolvers<ClientError>()
  readonly #outstanding = new Map<number, Outstanding>()
  readonly #queue: Queued[] = []
  readonly #heartbeat: Heartbeat
  #channel: Channel | undefined
  #hello: Hello | undefined
  #why: ClientError | undefined
  #listener: WireEvents | undefined
  /** What came before anybody listened: the answer to a proof and the first notices may share a message. */
  #held: Notice[] = []
  #outstandingBytes = 0
  #lastRequest = 0
  #unsent: Uint8Array[] = []
  #unsentBytes = 0

  private constructor(clock: Clock) {
    this.#clock = clock
    this.#heartbeat = new Heartbeat(clock, {
      beat: () => this.#lookForAnswers(),
      ask: () => this.#askForSign(),
      gone: () => this.fail(new ClientError('lost', 'the server has given no sign for too long')),
    })
    this.#greeting.promise.catch(() => {}) // whoever opens the wire hears of it as well
  }

  /** Resolves when the server has said who it is; whether that is true, its proof tells. */
  static async open(
    link: Link,
    { transport, clock }: { transport: Transport; clock: Clock },
    { signal }: { signal: AbortSignal },
  ): Promise<Wire> {
    signal.throwIfAborted()
    const wire = new Wire(clock)
    const attempt = new AbortController()
    const give = (why: ClientError): void => {
      attempt.abort(why)
      wire.fail(why)
    }
    const abort = (): void => give(new ClientError('ended', 'not waited for any longer', { cause: signal.reason }))
    signal.addEventListener('abort', abort, { once: true })
    using _deadline = clock.after(limits.greetingMs, () =>
      give(new ClientError('unreachable', `${link.host} has not answered in ${limits.greetingMs / 1000} s`)),
    )
    try {
      const channel = await transport.open(
        link,
        { message: (message) => wire.#receive(message), closed: (why) => wire.fail(why) },
        { signal: attempt.signal },
      )
      wire.#channel = channel
      if (wire.#why !== undefined) channel.close()
      await wire.#greeting.promise
      return wire
    } catch (error) {
      const why = wire.#why ?? (error instanceof ClientError ? error : unforeseen(link, error))
      wire.fail(why)
      signal.throwIfAborted()
      throw why
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  get hello(): Hello {
    if (this.#hello === undefined) throw new Error('nobody has a wire before its greeting')
    return this.#hello
  }

  get certificate(): Channel['certificate'] {
    return this.#channel?.certificate
  }

  /** Resolves with the reason when the wire has ended. */
  get closed(): Promise<ClientError> {
    return this.#closed.promise
  }

  /** From now on somebody hears what the server says unasked. */
  listen(listener: WireEvents): void {
    this.#listener = listener
    const held = this.#held
    this.#held = []
    for (const notice of held) this.#tell(() => listener.notice(notice))
  }

  /**
   * The answer to one request, or the refusal as a `RefusedError`, or `lost`: then nobody knows whether it was done.
   * The signal ends the wait, not the work.
   */
  async request<N extends OperationName>(
    name: N,
    request: RequestOf<N>,
    { signal }: { signal: AbortSignal },
  ): Promise<ResponseOf<N>> {
    const { request: codec } = operations[name]
    return this.requestEncoded(name, encode(codec as Codec<RequestOf<N>>, request), { signal }) // one row of the table
  }

  /** The same for a request whose bytes are finished, and have to stay as they are. */
  async requestEncoded<N extends OperationName>(
    name: N,
    body: Uint8Array,
    { signal }: { signal: AbortSignal },
  ): Promise<ResponseOf<N>> {
    signal.throwIfAborted()
    if (this.#why !== undefined) throw lost(this.#why)
    if (this.#queue.length >= limits.queuedMax)
      throw new ClientError('too-many', 'too many requests wait for an answer')
    const roomBytes = Math.min(protocol.frameBytesMax, this.hello.frameBytesMax) - frameHeadBytes
    if (body.length > roomBytes) throw new RefusedError('too-large', `${name} with ${body.length} bytes`)
    const { code, response } = operations[name]
    const answered = Promise.withResolvers<ResponseOf<N>>()
    const abort = (): void => answered.reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    const settle: Queued['settle'] = {
      answer: (frame) => {
        if (frame.code === answers.refused) answered.reject(errorOf(decode(Refusal, frame.body)))
        else answered.resolve(decode(response as Codec<ResponseOf<N>>, frame.body)) // one row of the table
      },
      lose: (why) => answered.reject(lost(why)),
    }
    this.#queue.push({ code, body, settle })
    this.#ask()
    try {
      return await answered.promise
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  /** Ends the wire for `why`. Only the first reason counts. */
  fail(why: ClientError): void {
    if (this.#why !== undefined) return
    this.#why = why
    this.#heartbeat[Symbol.dispose]()
    this.#channel?.close()
    this.#greeting.reject(why)
    for (const { lose } of this.#outstanding.values()) lose(why)
    for (const { settle } of this.#queue) settle.lose(why)
    this.#outstanding.clear()
    this.#queue.length = 0
    this.#unsent = []
    this.#held = []
    this.#closed.resolve(why)
  }

  [Symbol.dispose](): void {
    this.fail(new ClientError('ended', 'the connection was closed on this side'))
  }

  /** Sends what waits, as far as there is room among the outstanding. */
  #ask(): void {
    for (let first = this.#queue[0]; first !== undefined && this.#hasRoomFor(first); first = this.#queue[0]) {
      this.#queue.shift()
      const request = this.#nextNumber()
      const frame = writeFrame({ code: first.code, request, body: first.body })
      const sentMs = this.#clock.monotonicMs()
      this.#outstanding.set(request, { bytes: frame.length, sentMs, ...first.settle })
      this.#outstandingBytes += frame.length
      this.#write(frame)
    }
  }

  #hasRoomFor({ body }: Queued): boolean {
    if (this.#outstanding.size === 0) return true
    const isBelow = this.#outstanding.size < Math.min(protocol.outstandingMax, this.hello.outstandingMax)
    return isBelow && this.#outstandingBytes + body.length <= limits.outstandingBytesMax
  }

  #nextNumber(): number {
    do this.#lastRequest = this.#lastRequest === 0xffff_ffff ? 1 : this.#lastRequest + 1
    while (this.#outstanding.has(this.#lastRequest))
    return this.#lastRequest
  }

  /** Everything that is written in one turn leaves in one message. */
  #write(frame: Uint8Array): void {
    if (this.#unsentBytes + frame.length > Math.min(protocol.frameBytesMax, this.hello.frameBytesMax)) this.#flush()
    if (this.#unsent.length === 0) queueMicrotask(() => this.#flush())
    this.#unsent.push(frame)
    this.#unsentBytes += frame.length
  }

  #flush(): void {
    const [first, ...others] = this.#unsent
    if (first === undefined || this.#why !== undefined) return
    const message = others.length === 0 ? first : joined(this.#unsent, this.#unsentBytes)
    this.#unsent = []
    this.#unsentBytes = 0
    this.#channel?.send(message)
  }

  #receive(message: Uint8Array): void {
    if (this.#why !== undefined) return
    this.#heartbeat.heard()
    this.#tell(() => {
      for (const frame of readFrames(message)) {
        if (this.#why !== undefined) return
        this.#take(frame)
      }
    })
    this.#ask()
  }

  /** Whatever `tell` throws is the server's doing. */
  #tell(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error)
      this.fail(error instanceof ClientError ? error : badAnswer(what, error))
    }
  }

  #take(frame: Frame): void {
    const { code, request, body } = frame
    if (code === events.hello.code) this.#greeted(frame)
    else if (this.#hello === undefined) throw badAnswer('it spoke before its greeting')
    else if (code === answers.done || code === answers.refused) this.#answered(frame)
    else if (request !== 0) throw badAnswer(`an event with the request number ${request}`)
    else if (code === events.notice.code) this.#noticed(decode(events.notice.body, body))
    else if (code !== events.deliver.code) throw badAnswer(`an event with the unknown code ${code}`)
    else if (this.#listener === undefined) throw badAnswer('a delivery before the session was proved')
    else this.#listener.deliver(decode(events.deliver.body, body))
  }

  #greeted({ request, body }: Frame): void {
    if (this.#hello !== undefined || request !== 0) throw badAnswer('a second greeting')
    const hello = decode(events.hello.body, body)
    if (hello.outstandingMax < 1 || hello.frameBytesMax < smallestFrame) throw badAnswer('limits that allow nothing')
    this.#hello = hello
    this.#greeting.resolve(hello)
  }

  #answered(frame: Frame): void {
    const outstanding = this.#outstanding.get(frame.request)
    if (outstanding === undefined) throw badAnswer(`an answer to request ${frame.request}, which has none outstanding`)
    outstanding.answer(frame)
    this.#outstanding.delete(frame.request)
    this.#outstandingBytes -= outstanding.bytes
  }

  #noticed(notice: Notice): void {
    if (this.#listener !== undefined) this.#listener.notice(notice)
    else if (this.#held.push(notice) > protocol.outstandingMax) throw badAnswer('more notices than anybody can hear')
  }

  /** Any answer is a sign; an outstanding request will have one as well. */
  #askForSign(): void {
    if (this.#outstanding.size === 0 && this.#listener !== undefined)
      this.request('credit', { messages: 0, bytes: 0 }, { signal: never }).catch(() => {})
  }

  #lookForAnswers(): void {
    const [oldest] = this.#outstanding.values()
    if (oldest !== undefined && this.#clock.monotonicMs() - oldest.sentMs >= limits.answerMs)
      this.fail(new ClientError('lost', 'the server has left a request without an answer for too long'))
  }
}

const never = new AbortController().signal

/** A server that takes no larger frames cannot be proved to. */
const smallestFrame = 1024 + frameHeadBytes

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

function lost(why: ClientError): ClientError {
  if (why.reason === 'ended') return why
  return new ClientError('lost', `the connection ended before the answer: ${why.message}`, { cause: why })
}

function unforeseen({ host }: Link, cause: unknown): ClientError {
  return new ClientError('unreachable', `cannot connect to ${host}`, { cause })
}

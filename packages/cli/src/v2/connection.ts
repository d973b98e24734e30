import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { ProtocolError } from '@messageu/protocol'
import { encodeRequest, type Request, readAnswerHeader, refusal } from '@messageu/protocol/v2'
import { Failure, interrupted, isSystemError } from '../failure.ts'
import { type Address, formatAddress } from './address.ts'
import { answerBytesPerSecond, type Deadlines, slowestBytesPerSecond } from './limits.ts'
import { refused } from './refusals.ts'

/** Takes in the answer to one request. What one of these throws ends the exchange, and the connection by a reset. */
export interface Receiver {
  /** The server is willing: `bytes` bytes of payload follow its header. */
  onHeader(header: Uint8Array, bytes: number): void
  onPiece(piece: Uint8Array): void
  /** The last byte is here. The server sees our end, and forgets what it handed out, only after this has resolved. */
  onComplete(): Promise<void>
}

export interface Call {
  readonly server: Address
  readonly request: Request
  /** What follows the request of a send: exactly as many bytes as it announces. */
  readonly content?: AsyncIterable<Uint8Array>
  readonly receiver: Receiver
  readonly deadlines: Deadlines
  readonly signal?: AbortSignal | undefined
}

/**
 * One request on one connection. Resolves when the receiver has everything and the connection was closed in good
 * order; rejects with a `Failure`, or with what the receiver or the content threw.
 */
export async function exchange(call: Call): Promise<void> {
  const { server, request, receiver, signal, deadlines } = call
  if (signal?.aborted) throw interrupted()
  // half open: Node would otherwise answer the server's end with ours before the receiver is done
  const socket = connect({ host: server.host, port: server.port, allowHalfOpen: true, noDelay: true })
  const over = new AbortController()
  const { promise: received, resolve, reject } = Promise.withResolvers<void>()
  const answer = new Answer(request, receiver)
  const outgoing = new Outgoing(socket, call, over.signal)
  const where = formatAddress(server)

  const connecting = setTimeout(() => reject(tooSlow(where, 'did not accept a connection')), deadlines.connectMs)
  const onAbort = (): void => reject(interrupted())
  signal?.addEventListener('abort', onAbort)
  socket.setTimeout(deadlines.silenceMs, () => reject(tooSlow(where, 'has been silent')))
  socket.on('connect', () => clearTimeout(connecting))
  socket.on('error', (error) => reject(networkFailure(where, error)))
  socket.on('end', () => {
    if (!answer.complete) reject(cutOff(where, answer.progress))
  })
  let receiving: NodeJS.Timeout | undefined
  socket.on('data', (chunk) => {
    try {
      if (answer.push(chunk)) {
        if (!outgoing.complete) throw new ProtocolError('malformed', 'it answers a request that it does not have yet')
        resolve()
      } else if (answer.announced !== undefined)
        receiving ??= setTimeout(
          () => reject(tooSlow(where, 'has been answering')),
          withinMs(answer.announced, deadlines),
        )
    } catch (error) {
      reject(error instanceof ProtocolError ? badAnswer(where, error) : error)
    }
  })
  const sent = outgoing.send().catch(reject)

  try {
    await received
    clearTimeout(receiving)
    socket.setTimeout(0)
    socket.pause() // whatever follows the answer is not ours
    await receiver.onComplete()
    await closed(socket, deadlines.closeMs)
  } catch (error) {
    // a plain close after the last byte would tell the server that we have it all
    if (socket.connecting || (error instanceof Failure && error.code === 'refused')) socket.destroy()
    else socket.resetAndDestroy()
    throw error instanceof ProtocolError ? badAnswer(where, error) : error
  } finally {
    clearTimeout(connecting)
    clearTimeout(receiving)
    signal?.removeEventListener('abort', onAbort)
    over.abort()
    await sent
  }
}

const timerMsMax = 2 ** 31 - 1

/** A server that sends a byte now and then is never silent. */
function withinMs(bytes: number, { silenceMs }: Deadlines): number {
  return Math.min(silenceMs + (bytes / slowestBytesPerSecond) * 1000, timerMsMax)
}

/** The request on its way out, a piece at a time: no more than one is in memory. */
class Outgoing {
  readonly #socket: Socket
  readonly #call: Call
  readonly #over: AbortSignal
  #left: number

  constructor(socket: Socket, call: Call, over: AbortSignal) {
    this.#socket = socket
    this.#call = call
    this.#over = over
    this.#left = encodeRequest(call.request).length + contentBytesOf(call.request)
  }

  /** The last byte is under way: an answer can be one to the whole request. */
  get complete(): boolean {
    return this.#left === 0
  }

  async send(): Promise<void> {
    const { request, content, deadlines } = this.#call
    try {
      await this.#put(encodeRequest(request))
      for await (const piece of content ?? []) await this.#put(piece)
      const writingMs = (contentBytesOf(request) / answerBytesPerSecond) * 1000
      this.#socket.setTimeout(deadlines.silenceMs + writingMs)
    } catch (error) {
      if (!this.#over.aborted) throw error
    }
  }

  async #put(bytes: Uint8Array): Promise<void> {
    this.#over.throwIfAborted()
    this.#left -= bytes.length
    if (!this.#socket.write(bytes)) await once(this.#socket, 'drain', { signal: this.#over })
  }
}

function contentBytesOf(request: Request): number {
  return request.kind === 'send' ? request.addressed.contentBytes : 0
}

/** Ends our side and waits for the server's end: only then has it settled what we fetched. */
async function closed(socket: Socket, withinMs: number): Promise<void> {
  socket.removeAllListeners('data')
  socket.resume()
  socket.end()
  if (!socket.closed) await once(socket, 'close', { signal: AbortSignal.timeout(withinMs) }).catch(() => {})
  socket.destroy()
}

/** The header and the payload of an answer, from pieces of any size. */
class Answer {
  readonly #request: Request
  readonly #receiver: Receiver
  readonly #header = new Uint8Array(refusal.length)
  #headerBytes = 0
  #payloadBytes = 0
  #received = 0

  constructor(request: Request, receiver: Receiver) {
    this.#request = request
    this.#receiver = receiver
  }

  get complete(): boolean {
    return this.#headerBytes === this.#header.length && this.#received === this.#payloadBytes
  }

  /** The size of the payload, once it is known. */
  get announced(): number | undefined {
    return this.#headerBytes === this.#header.length ? this.#payloadBytes : undefined
  }

  get progress(): string {
    if (this.#headerBytes < this.#header.length) return `after ${this.#headerBytes} bytes, without an answer`
    return `after ${this.#received} of ${this.#payloadBytes} bytes`
  }

  /** Whether the answer is complete now. */
  push(chunk: Uint8Array): boolean {
    let rest = chunk
    if (this.#headerBytes < this.#header.length) {
      const part = rest.subarray(0, this.#header.length - this.#headerBytes)
      this.#header.set(part, this.#headerBytes)
      this.#headerBytes += part.length
      if (this.#headerBytes < this.#header.length) return false
      rest = rest.subarray(part.length)
      this.#readHeader()
    }
    const piece = rest.subarray(0, this.#payloadBytes - this.#received)
    this.#received += piece.length
    if (piece.length > 0) this.#receiver.onPiece(piece)
    return this.complete
  }

  #readHeader(): void {
    const answer = readAnswerHeader(this.#request.kind, this.#header)
    if (answer.kind === 'refused') throw refused(this.#request)
    this.#payloadBytes = answer.bytes
    this.#receiver.onHeader(this.#header, answer.bytes)
  }
}

function tooSlow(where: string, what: string): Failure {
  return new Failure('timeout', {
    what: `the server at ${where} ${what} for too long`,
    advice: 'check the network and whether the server is well, then again',
  })
}

function cutOff(where: string, when: string): Failure {
  return new Failure('cut-off', {
    what: `the server at ${where} ended the connection ${when}`,
    why: 'it stopped, the network failed, or another kind of server listens there',
    advice: 'again later; nothing that was incomplete has been used',
  })
}

export function badAnswer(where: string, cause: ProtocolError): Failure {
  return new Failure('bad-answer', {
    what: `the server at ${where} gave an answer that is not of version 2`,
    why: cause.message,
    advice: 'check host and port: this may be another kind of server',
    cause,
  })
}

// biome-ignore format: the columns are the point
const networkWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens on that port',
  ECONNRESET:   'it reset the connection',
  EPIPE:        'it closed the connection while we were sending',
  EHOSTUNREACH: 'there is no way to that host',
  ENETUNREACH:  'there is no way to that network',
  ENOTFOUND:    'there is no host with this name',
  EAI_AGAIN:    'the name of the host cannot be looked up now',
  ETIMEDOUT:    'it does not answer',
}

function networkFailure(where: string, error: Error): unknown {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (!isSystemError(error) && networkWords[code] === undefined) return error
  return new Failure('unreachable', {
    what: `the server at ${where} cannot be reached`,
    why: networkWords[code] ?? error.message,
    advice: 'check the address (--server HOST:PORT or server.info) and whether the server runs',
    cause: error,
  })
}

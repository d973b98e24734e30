import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { ProtocolError } from '@messageu/protocol'
import { encodeRequest, type Request, readAnswerHeader, refusal } from '@messageu/protocol/v2'
import { Failure, interrupted, isSystemError } from '../failure.ts'
import { type Address, formatAddress } from './address.ts'
import { answerBytesPerSecond, type Deadlines } from './limits.ts'
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
  socket.on('data', (chunk) => {
    try {
      if (answer.push(chunk)) resolve()
    } catch (error) {
      reject(error instanceof ProtocolError ? badAnswer(where, error) : error)
    }
  })
  const uploaded = upload(socket, call, over.signal).catch(reject)

  try {
    await received
    socket.setTimeout(0)
    socket.pause() // whatever follows the answer is not ours
    await receiver.onComplete()
    await closed(socket, deadlines.closeMs)
  } catch (error) {
    // a plain close after the last byte would tell the server that we have it all
    if (error instanceof Failure && error.code === 'refused') socket.destroy()
    else socket.resetAndDestroy()
    throw error instanceof ProtocolError ? badAnswer(where, error) : error
  } finally {
    clearTimeout(connecting)
    signal?.removeEventListener('abort', onAbort)
    over.abort()
    await uploaded
  }
}

async function upload(socket: Socket, { request, content, deadlines }: Call, over: AbortSignal): Promise<void> {
  try {
    await put(socket, encodeRequest(request), over)
    if (content === undefined || request.kind !== 'send') return
    for await (const piece of content) await put(socket, piece, over)
    const writingMs = (request.addressed.contentBytes / answerBytesPerSecond) * 1000
    socket.setTimeout(deadlines.silenceMs + writingMs)
  } catch (error) {
    if (!over.aborted) throw error
  }
}

/** Waits while the connection is full, so that no more than a piece is in memory. */
async function put(socket: Socket, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  if (!socket.write(bytes)) await once(socket, 'drain', { signal })
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

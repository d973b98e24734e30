import { decode, encode } from '../codec.ts'
import { malformed, ProtocolError } from '../errors.ts'
import { Cutter, type CutterEvents, type Following } from '../stream.ts'
import { limits } from './limits.ts'
import { Addressed, type ClientId, Registration, RequestHeader, Target } from './messages.ts'
import { type OperationName, operationOf, operations, version } from './operations.ts'

/** A request without its content. `asker` is what stood in the header; which of them must be registered: §2. */
export type Request =
  | { kind: 'register'; asker: ClientId; registration: Registration }
  | { kind: 'list'; asker: ClientId }
  | { kind: 'key'; asker: ClientId; target: ClientId }
  | { kind: 'send'; asker: ClientId; addressed: Addressed }
  | { kind: 'fetch'; asker: ClientId }

const nothing = new Uint8Array(0)

/** A header that was judged. */
interface Announced {
  readonly header: RequestHeader
  readonly operation: OperationName
}

export interface RequestEvents {
  /** The header is whole and names a request whose announced size is right. Throw to refuse before the rest comes. */
  onHeader(asker: ClientId, operation: OperationName): void
  /** Everything but the content is here. */
  onRequest(request: Request): void
  onContent(piece: Uint8Array): void
  /** The last byte of the request is here. What the peer sends after it is not read. */
  onComplete(): void
}

/**
 * Reads one request from a stream. Throws `ProtocolError` for bytes that are not a request, and whatever an event
 * throws; after that it reads nothing more. §2, §3
 */
export class RequestReader implements CutterEvents {
  readonly #events: RequestEvents
  readonly #cutter: Cutter
  #announced: Announced | undefined

  constructor(events: RequestEvents) {
    this.#events = events
    this.#cutter = new Cutter(RequestHeader.max, this)
  }

  get complete(): boolean {
    return this.#cutter.ended
  }

  /** How far the request has come, for a log line. */
  get missing(): 'header' | 'payload' | 'nothing' {
    if (this.complete) return 'nothing'
    return this.#announced === undefined ? 'header' : 'payload'
  }

  push(chunk: Uint8Array): void {
    this.#cutter.push(chunk)
  }

  /** Ignores everything from here on. */
  stop(): void {
    this.#cutter.stop()
  }

  /** For the cutter, as what follows. */
  onHead(head: Uint8Array): Following {
    if (this.#announced !== undefined) return this.#whole(this.#announced, head)
    const header = decode(RequestHeader, head)
    const operation = judgeHeader(header)
    this.#announced = { header, operation }
    this.#events.onHeader(header.client, operation)
    const { request } = operations[operation]
    return request.max > 0 ? { content: 0, head: request.max } : this.#whole(this.#announced, nothing)
  }

  onContent(piece: Uint8Array): void {
    this.#events.onContent(piece)
  }

  onEnd(): void {
    this.#events.onComplete()
  }

  #whole(announced: Announced, head: Uint8Array): Following {
    const request = readRequest(announced, head)
    this.#events.onRequest(request)
    return { content: request.kind === 'send' ? request.addressed.contentBytes : 0, head: 0 }
  }
}

function judgeHeader({ code, payloadBytes }: RequestHeader): OperationName {
  if (payloadBytes > limits.payloadBytesMax) throw malformed(`announces ${payloadBytes} bytes`)
  const operation = operationOf(code)
  if (operation === undefined) throw new ProtocolError('unknown-code', `there is no request ${code}`)
  const { request, content } = operations[operation]
  const fits = content ? payloadBytes >= request.min : payloadBytes === request.min
  if (!fits) throw malformed(`${operation} announces a payload of ${payloadBytes} bytes`)
  return operation
}

function readRequest({ header, operation }: Announced, head: Uint8Array): Request {
  const asker = header.client
  switch (operation) {
    case 'register':
      return { kind: 'register', asker, registration: decode(Registration, head) }
    case 'key':
      return { kind: 'key', asker, target: decode(Target, head).client }
    case 'send': {
      const addressed = decode(Addressed, head)
      if (Addressed.max + addressed.contentBytes !== header.payloadBytes)
        throw malformed(`a content of ${addressed.contentBytes} bytes in a payload of ${header.payloadBytes}`)
      judgeAddressed(addressed)
      return { kind: 'send', asker, addressed }
    }
    case 'list':
    case 'fetch':
      return { kind: operation, asker }
  }
}

function judgeAddressed({ type, contentBytes }: Addressed): void {
  if (contentBytes > limits.contentBytesMax)
    throw malformed(`a content of ${contentBytes} bytes; at most ${limits.contentBytesMax}`)
  if (type === 'key-request' && contentBytes > 0) throw malformed('a key request has no content')
}

/** The bytes of a request, up to where the content of a send begins. */
export function encodeRequest(request: Request): Uint8Array {
  const { code } = operations[request.kind]
  const head = requestHead(request)
  const content = request.kind === 'send' ? request.addressed.contentBytes : 0
  const header = encode(RequestHeader, { client: request.asker, version, code, payloadBytes: head.length + content })
  const whole = new Uint8Array(header.length + head.length)
  whole.set(header)
  whole.set(head, header.length)
  return whole
}

function requestHead(request: Request): Uint8Array {
  switch (request.kind) {
    case 'register':
      return encode(Registration, request.registration)
    case 'key':
      return encode(Target, { client: request.target })
    case 'send':
      judgeAddressed(request.addressed)
      return encode(Addressed, request.addressed)
    case 'list':
    case 'fetch':
      return nothing
  }
}

import { decode } from '../codec.ts'
import { malformed } from '../errors.ts'
import { Cutter } from '../stream.ts'
import { limits } from './limits.ts'
import { Delivered, ResponseHeader } from './messages.ts'
import { type OperationName, operations, refusal, version } from './operations.ts'

/** What the first 7 bytes of an answer say to the client that asked for `operation`. §4 */
export type Answer = { kind: 'refused' } | { kind: 'payload'; bytes: number }

/** Throws `malformed` for an answer to something else, another version, or a size that cannot be right. */
export function readAnswerHeader(operation: OperationName, header: Uint8Array): Answer {
  if (header.length === refusal.length && header.every((byte, i) => byte === refusal[i])) return { kind: 'refused' }
  const answer = decode(ResponseHeader, header)
  const { answer: code, response } = operations[operation]
  if (answer.version !== version) throw malformed(`the server answers in version ${answer.version}`)
  if (answer.code !== code) throw malformed(`the server answers ${answer.code} to ${operation}, not ${code}`)
  const { payloadBytes } = answer
  if (response !== undefined && (payloadBytes < response.min || payloadBytes > response.max))
    throw malformed(`the answer to ${operation} announces ${payloadBytes} bytes`)
  return { kind: 'payload', bytes: payloadBytes }
}

export interface DeliveryEvents {
  onMessage(message: Delivered): void
  onContent(piece: Uint8Array): void
  onMessageEnd(): void
}

/** Cuts the payload of a fetch into messages. Throws `malformed` for bytes that are not messages. §3.5 */
export class DeliveryReader {
  readonly #cutter: Cutter

  constructor(events: DeliveryEvents) {
    this.#cutter = new Cutter(Delivered.max, {
      onHead(head) {
        const message = decode(Delivered, head)
        if (message.contentBytes > limits.contentBytesMax) throw malformed(`a content of ${message.contentBytes} bytes`)
        events.onMessage(message)
        return { content: message.contentBytes, head: Delivered.max }
      },
      onContent: (piece) => events.onContent(piece),
      onContentEnd: () => events.onMessageEnd(),
    })
  }

  push(chunk: Uint8Array): void {
    this.#cutter.push(chunk)
  }

  /** To be called when the payload's last byte was pushed. Throws `malformed` inside a message. */
  end(): void {
    if (!this.#cutter.atBoundary) throw malformed('the payload ends inside a message')
  }
}

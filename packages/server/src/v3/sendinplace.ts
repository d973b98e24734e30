import { decodeInPlace } from '@messageu/protocol'
import { type ConversationId, limits, operations, type Send, type SendId } from '@messageu/protocol/v3'

/** Where the fields of a `send` request stand. Protocol 3 §6.6. */
const at = { generation: 32, id: 36, number: 52, epoch: 60, length: 68, sealed: 72 } as const

/**
 * A send as it lies in its frame. Read field by field rather than by codec, and without views of what nobody asks for:
 * there are some hundred thousand a second. A test compares it with the codec.
 */
export class SendInPlace implements Send {
  readonly body: Uint8Array
  readonly generation: number
  readonly id: SendId
  readonly number: number
  readonly epoch: number

  /** Throws `malformed`. */
  constructor(body: Uint8Array) {
    const sealedBytes = body.length - at.sealed
    this.body = body
    this.generation = readU32(body, at.generation)
    this.number = readU64(body, at.number)
    this.epoch = readU64(body, at.epoch)
    const isWellFormed =
      sealedBytes >= 0 &&
      sealedBytes <= limits.sealedBytesMax &&
      readU32(body, at.length) === sealedBytes &&
      this.number <= Number.MAX_SAFE_INTEGER &&
      this.epoch <= Number.MAX_SAFE_INTEGER
    if (!isWellFormed) decodeInPlace(operations.send.request, body) // says what is wrong
    this.id = body.subarray(at.id, at.number) as SendId // as many bytes as one has
  }

  get conversation(): ConversationId {
    return this.body.subarray(0, at.generation) as ConversationId // as many bytes as one has
  }

  get sealed(): Uint8Array {
    return this.body.subarray(at.sealed)
  }

  get sealedBytes(): number {
    return this.body.length - at.sealed
  }

  /** The beginning of the id: two that differ in it are not the same. */
  get idBeginning(): number {
    return readU32(this.body, at.id)
  }

  isTo(conversation: ConversationId): boolean {
    for (let i = 0; i < at.generation; i++) if (this.body[i] !== conversation[i]) return false
    return true
  }
}

function readU32(bytes: Uint8Array, at: number): number {
  return (readU16(bytes, at) | (readU16(bytes, at + 2) << 16)) >>> 0
}

/** 0 for what lies behind the end: the length says so as well. */
function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
}

function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + 4) * 2 ** 32 + readU32(bytes, at)
}

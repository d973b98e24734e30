import { crc32 } from 'node:zlib'
import { type ConversationId, deliveryKinds, events, frameHeadBytes, type Send } from '@messageu/protocol/v3'

type LetterKind = keyof typeof deliveryKinds

/** Where the fields of a `deliver` frame stand. Protocol 3 §7.1. */
const at = {
  position: frameHeadBytes,
  conversation: frameHeadBytes + 8,
  generation: frameHeadBytes + 40,
  sequence: frameHeadBytes + 44,
  time: frameHeadBytes + 52,
  kind: frameHeadBytes + 60,
  length: frameHeadBytes + 61,
  sealed: frameHeadBytes + 65,
} as const

/** Behind the frame: the number of the device that sent it, which is not delivered. */
const senderBytes = 8

/** Bytes of a stored letter beside what is sealed in it, where its conversation is known from the box. */
const letterHeadBytes = at.sealed - at.generation + senderBytes

export interface Addressed {
  readonly kind: LetterKind
  readonly conversation: ConversationId
  readonly generation: number
  readonly sealed: Uint8Array
  /** Number of the device that sends. */
  readonly sender: number
}

/**
 * One accepted message, in one buffer from its acceptance to its delivery: the frame `deliver` as all sessions get it,
 * and the sender's number behind it. What is stored is a part of the same bytes, so that nothing is copied between.
 */
export class Letter {
  readonly #bytes: Buffer

  private constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  static of({ kind, conversation, generation, sealed, sender }: Addressed): Letter {
    const letter = new Letter(Buffer.allocUnsafe(at.sealed + sealed.length + senderBytes))
    const bytes = letter.#bytes
    letter.#writeHead()
    writeU64(bytes, at.position, 0)
    bytes.set(conversation, at.conversation)
    writeU32(bytes, at.generation, generation)
    letter.accept(0, 0)
    bytes[at.kind] = deliveryKinds[kind]
    writeU32(bytes, at.length, sealed.length)
    bytes.set(sealed, at.sealed)
    writeU64(bytes, at.sealed + sealed.length, sender)
    return letter
  }

  /** Read back from the box of a conversation, whose id it does not repeat. Undefined for what is no letter. */
  static fromBox(content: Uint8Array, conversation: ConversationId, position: number): Letter | undefined {
    const letter = Letter.#read(content, at.generation, position)
    if (letter !== undefined) letter.#bytes.set(conversation, at.conversation)
    return letter
  }

  /** Read back from the box of a device. */
  static fromDeviceBox(content: Uint8Array, position: number): Letter | undefined {
    return Letter.#read(content, at.conversation, position)
  }

  static #read(content: Uint8Array, from: number, position: number): Letter | undefined {
    if (content.length < at.sealed - from + senderBytes) return undefined
    const letter = new Letter(Buffer.allocUnsafe(from + content.length))
    letter.#bytes.set(content, from)
    letter.#writeHead()
    letter.place(position)
    return letter
  }

  get sequence(): number {
    return readU64(this.#bytes, at.sequence)
  }

  /** Bytes of what is sealed in it. */
  get sealedBytes(): number {
    return this.#bytes.length - at.sealed - senderBytes
  }

  get isApplication(): boolean {
    return this.#bytes[at.kind] === deliveryKinds.application
  }

  get sender(): number {
    return readU64(this.#bytes, this.#bytes.length - senderBytes)
  }

  /** What goes to sessions. */
  get frame(): Uint8Array {
    return this.#bytes.subarray(0, this.#bytes.length - senderBytes)
  }

  /** Bytes of `content`. */
  get contentBytes(): number {
    return contentBytesOf(this.sealedBytes)
  }

  /** What is stored in the box of its conversation. */
  get content(): Uint8Array {
    return this.#bytes.subarray(at.generation)
  }

  /** What is stored in the box of a device. */
  get contentWithConversation(): Uint8Array {
    return this.#bytes.subarray(at.conversation)
  }

  /** Of the letter to come, before `accept`, whose fields stand for the epoch meanwhile; see `digestOf`. */
  digest(epoch: number): Uint8Array {
    this.accept(epoch, 0)
    const digest = Buffer.allocUnsafe(8)
    writeU32(digest, 0, crc32(this.#bytes)) // what it has in front is the same in all of that length
    writeU32(digest, 4, this.sealedBytes)
    return digest
  }

  /** Its place in the conversation, and the server's time. */
  accept(sequence: number, nowMs: number): void {
    writeU64(this.#bytes, at.sequence, sequence)
    writeU64(this.#bytes, at.time, nowMs)
  }

  /** Its position on the server. */
  place(position: number): void {
    writeU64(this.#bytes, at.position, position)
  }

  #writeHead(): void {
    writeU32(this.#bytes, 0, this.#bytes.length - senderBytes)
    this.#bytes[4] = events.deliver.code
    writeU32(this.#bytes, 5, 0)
  }
}

/**
 * Tells a message from any other that has its number and id: the CRC-32 of conversation, generation, epoch, kind, what is
 * sealed and the sender, and the length of what is sealed. Whoever makes another message of the same digest deceives only
 * itself: the answer is that to its own first one.
 */
export function digestOf({ conversation, generation, epoch, sealed }: Send, sender: number): Uint8Array {
  return Letter.of({ kind: 'application', conversation, generation, sealed, sender }).digest(epoch)
}

/** Bytes of what is stored of a letter in the box of a conversation, when so many are sealed in it. */
export function contentBytesOf(sealedBytes: number): number {
  return letterHeadBytes + sealedBytes
}

/** The sequence of what lies in the box of a conversation; undefined for what is no letter. */
export function sequenceIn(content: Uint8Array): number | undefined {
  const sequence = at.sequence - at.generation
  if (content.length < letterHeadBytes) return undefined
  return readU64(Buffer.from(content.buffer, content.byteOffset, content.byteLength), sequence)
}

function writeU64(bytes: Buffer, offset: number, value: number): void {
  writeU32(bytes, offset, value >>> 0)
  writeU32(bytes, offset + 4, Math.floor(value / 2 ** 32))
}

/** Without the checks of a Buffer's own: a message has a dozen of them. */
function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value
  bytes[offset + 1] = value >>> 8
  bytes[offset + 2] = value >>> 16
  bytes[offset + 3] = value >>> 24
}

function readU64(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset + 4) * 2 ** 32 + bytes.readUInt32LE(offset)
}

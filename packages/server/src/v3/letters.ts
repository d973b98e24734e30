import { crc32 } from 'node:zlib'
import { type ConversationId, deliveryKinds, events, frameHeadBytes } from '@messageu/protocol/v3'
import type { SendInPlace } from './sendinplace.ts'

type LetterKind = keyof typeof deliveryKinds

/** Where the fields of a `deliver` frame stand. Protocol 3 §7.1. */
export const letterAt = {
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
export const senderBytes = 8

/** Small letters lie in one buffer with others: one of its own for each costs more than all else about it. */
const slabBytes = 2 ** 16
const inSlabBytesMax = 2 ** 12
let slab = Buffer.allocUnsafeSlow(slabBytes)
let slabUsed = 0

/** Bytes of a stored letter beside what is sealed in it, where its conversation is known from the box. */
const letterHeadBytes = letterAt.sealed - letterAt.generation + senderBytes

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
  /** It lies in them beside others. */
  readonly #bytes: Buffer
  readonly #from: number
  /** Of the frame. */
  readonly #end: number

  private constructor(bytes: Buffer, from: number, frameBytes: number) {
    this.#bytes = bytes
    this.#from = from
    this.#end = from + frameBytes
  }

  static of({ kind, conversation, generation, sealed, sender }: Addressed): Letter {
    const letter = Letter.#new(letterAt.sealed + sealed.length)
    letter.#bytes.set(sealed, letter.#from + letterAt.sealed)
    letter.#address(conversation, generation, sender)
    letter.#bytes[letter.#from + letterAt.kind] = deliveryKinds[kind]
    return letter
  }

  /** The same for what is sent: copied in one go, with what stands before it in the request and is written over. */
  static ofSend({ body, generation, sealedBytes }: SendInPlace, conversation: ConversationId, sender: number): Letter {
    const letter = Letter.#new(letterAt.sealed + sealedBytes)
    letter.#bytes.set(body, letter.#end - body.length)
    letter.#address(conversation, generation, sender)
    letter.#bytes[letter.#from + letterAt.kind] = deliveryKinds.application
    return letter
  }

  static #new(frameBytes: number): Letter {
    const bytes = frameBytes + senderBytes
    if (bytes > inSlabBytesMax) return new Letter(Buffer.allocUnsafeSlow(bytes), 0, frameBytes)
    if (slabUsed + bytes > slab.length) {
      slab = Buffer.allocUnsafeSlow(slabBytes)
      slabUsed = 0
    }
    const from = slabUsed
    slabUsed += bytes
    return new Letter(slab, from, frameBytes)
  }

  /** Read back from the box of a conversation, whose id it does not repeat. Undefined for what is no letter. */
  static fromBox(content: Uint8Array, conversation: ConversationId, position: number): Letter | undefined {
    if (!isLetter(content)) return undefined
    const letter = Letter.#new(letterAt.generation + content.length - senderBytes)
    letter.#bytes.set(content, letter.#from + letterAt.generation)
    writeHead(letter.#bytes, letter.#from, letter.#end - letter.#from)
    letter.place(position)
    letter.#bytes.set(conversation, letter.#from + letterAt.conversation)
    return letter
  }

  get sequence(): number {
    return readU64(this.#bytes, this.#from + letterAt.sequence)
  }

  readonly count = 1

  /** Bytes of what is sealed in it. */
  get sealedBytes(): number {
    return this.#end - this.#from - letterAt.sealed
  }

  get isApplication(): boolean {
    return this.#bytes[this.#from + letterAt.kind] === deliveryKinds.application
  }

  get sender(): number {
    return readU64(this.#bytes, this.#end)
  }

  /** What goes to sessions. */
  get frame(): Uint8Array {
    return this.#bytes.subarray(this.#from, this.#end)
  }

  /** Bytes of `content`. */
  get contentBytes(): number {
    return contentBytesOf(this.sealedBytes)
  }

  /** What is stored in the box of its conversation. */
  get content(): Uint8Array {
    return this.#bytes.subarray(this.#from + letterAt.generation, this.#end + senderBytes)
  }

  /** What is stored in the box of a device. */
  get contentWithConversation(): Uint8Array {
    return this.#bytes.subarray(this.#from + letterAt.conversation, this.#end + senderBytes)
  }

  /**
   * Tells a message from any other that has its number and id: the CRC-32 of conversation, generation, epoch, kind, what
   * is sealed and the sender, and the length of what is sealed. Whoever makes another message of the same digest deceives
   * only itself: the answer is that to its own first one. To be asked for before `accept`, whose fields stand for the epoch
   * meanwhile. `content` is that of this letter.
   */
  digest(epoch: number, content: Uint8Array, conversationDigest: number): Uint8Array {
    this.accept(epoch, 0)
    const digest = new Uint8Array(8)
    writeU32(digest, 0, crc32(content, conversationDigest))
    writeU32(digest, 4, this.sealedBytes)
    return digest
  }

  /** Its place in the conversation, and the server's time. */
  accept(sequence: number, nowMs: number): void {
    writeU64(this.#bytes, this.#from + letterAt.sequence, sequence)
    writeU64(this.#bytes, this.#from + letterAt.time, nowMs)
  }

  /** Its position on the server. */
  place(position: number): void {
    writeU64(this.#bytes, this.#from + letterAt.position, position)
  }

  /** Everything but kind, sequence and time. */
  #address(conversation: ConversationId, generation: number, sender: number): void {
    const from = this.#from
    writeHead(this.#bytes, from, this.#end - from)
    this.place(0)
    this.#bytes.set(conversation, from + letterAt.conversation)
    writeU32(this.#bytes, from + letterAt.generation, generation)
    this.accept(0, 0)
    writeU32(this.#bytes, from + letterAt.length, this.sealedBytes)
    writeU64(this.#bytes, this.#end, sender)
  }
}

/** See `Letter.digest`. */
export function digestOf(send: SendInPlace, sender: number): Uint8Array {
  const { conversation, epoch } = send
  const letter = Letter.ofSend(send, conversation, sender)
  return letter.digest(epoch, letter.content, crc32(conversation))
}

/** Bytes of what is stored of a letter in the box of a conversation, when so many are sealed in it. */
export function contentBytesOf(sealedBytes: number): number {
  return letterHeadBytes + sealedBytes
}

/** Whether something that lies in the box of a conversation can be one. */
function isLetter(content: Uint8Array): boolean {
  return content.length >= letterHeadBytes
}

/** The sequence of what lies in the box of a conversation; undefined for what is no letter. */
export function sequenceIn(content: Uint8Array): number | undefined {
  return isLetter(content) ? readU64(content, letterAt.sequence - letterAt.generation) : undefined
}

/** The sender of a letter in the box of a conversation, if what it sent is an application message. */
export function applicationSenderIn(content: Uint8Array): number | undefined {
  const isApplication = content[letterAt.kind - letterAt.generation] === deliveryKinds.application
  return isApplication ? readU64(content, content.length - senderBytes) : undefined
}

/** Of the frame of a letter, when so many bytes are sealed in it. */
export function frameBytesOf(sealedBytes: number): number {
  return letterAt.sealed + sealedBytes
}

/** The head of a frame of so many bytes. */
export function writeHead(bytes: Buffer, from: number, frameBytes: number): void {
  writeU32(bytes, from, frameBytes)
  bytes[from + 4] = events.deliver.code
  writeU32(bytes, from + 5, 0)
}

export function writeU64(bytes: Buffer, offset: number, value: number): void {
  writeU32(bytes, offset, value >>> 0)
  writeU32(bytes, offset + 4, Math.floor(value / 2 ** 32))
}

/** Without the checks of a Buffer's own: a message has a dozen of them. */
export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value
  bytes[offset + 1] = value >>> 8
  bytes[offset + 2] = value >>> 16
  bytes[offset + 3] = value >>> 24
}

function readU64(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset + 4) * 2 ** 32 + readU32(bytes, offset)
}

function readU32(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) // within their bounds, as the others
  return (low | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)) >>> 0
}

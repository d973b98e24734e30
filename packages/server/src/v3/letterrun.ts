import { crc32 } from 'node:zlib'
import { type ConversationId, deliveryKinds } from '@messageu/protocol/v3'
import { crcOfBoth, crcOfChanged, crcState } from '../storage/crc.ts'
import type { SentRun } from '../storage/sentrun.ts'
import {
  contentBytesOf,
  frameBytesOf,
  Letter,
  letterAt,
  senderBytes,
  writeHead,
  writeU32,
  writeU64,
} from './letters.ts'
import type { SendInPlace } from './sendinplace.ts'

/** Where the fields of what is stored stand, beside the conversation, which is known from the box. */
const at = {
  sequence: letterAt.sequence - letterAt.generation,
  time: letterAt.time - letterAt.generation,
  kind: letterAt.kind - letterAt.generation,
  length: letterAt.length - letterAt.generation,
} as const

/**
 * The letters of a run. They are written where the run lies, as they will be stored; the frames are made of that if
 * somebody is there to get them, all beside each other.
 */
export class LetterRun {
  readonly #run: SentRun
  readonly #conversation: ConversationId
  readonly #conversationDigest: number
  #sealedBytes = 0
  #frames: Buffer | undefined

  constructor(run: SentRun, conversation: ConversationId) {
    this.#run = run
    this.#conversation = conversation
    this.#conversationDigest = crc32(conversation)
  }

  get count(): number {
    return this.#run.count
  }

  /** Number of the device that has sent them. */
  get sender(): number {
    return this.#run.place.device
  }

  /** Bytes of what is sealed in them. */
  get sealedBytes(): number {
    return this.#sealedBytes
  }

  /** Puts a message, accepted at `nowMs`, behind the others. There must be room. */
  add({ number, id, body, sealedBytes, generation, epoch }: SendInPlace, nowMs: number): void {
    const run = this.#run
    const contentBytes = contentBytesOf(sealedBytes)
    const sequence = run.place.sequence + run.count
    const content = run.add(number, id, contentBytes)
    const { bytes } = run
    const lengthBytes = 4
    Buffer.prototype.copy.call(body, bytes, content + at.length, body.length - sealedBytes - lengthBytes)
    writeU32(bytes, content, generation)
    bytes[content + at.kind] = deliveryKinds.application
    writeU64(bytes, content + contentBytes - senderBytes, this.sender)
    this.#accept(content, epoch, 0) // in the digest, as `Letter.digest` has it
    const crc = crc32(new Uint8Array(bytes.buffer, content, contentBytes))
    const digest = crcOfBoth(this.#conversationDigest, crc, contentBytes)
    this.#accept(content, sequence, nowMs)
    const behind = contentBytes - at.kind // of sequence and time
    run.digest(digest, sealedBytes, crcOfChanged(crc, acceptedChange(epoch, sequence, nowMs), behind))
    this.#sealedBytes += sealedBytes
  }

  /** All of them as they go to sessions, one behind the other. There is a position for each. */
  together(positions: readonly number[]): { count: number; sealedBytes: number; frame: Uint8Array } {
    this.#frames ??= this.#framed(positions)
    return { count: this.count, sealedBytes: this.#sealedBytes, frame: this.#frames }
  }

  /** One of them. */
  letter(index: number, position: number): Letter {
    const content = this.#run.message(index).content
    return Letter.fromBox(content, this.#conversation, position) as Letter // it was written as one
  }

  #framed(positions: readonly number[]): Buffer {
    const { count } = this.#run
    const frames = Buffer.allocUnsafeSlow(count * frameBytesOf(0) + this.#sealedBytes)
    let from = 0
    for (let i = 0; i < count; i++) {
      const bytes = frameBytesOf(this.#run.contentBytes(i) - contentBytesOf(0))
      writeHead(frames, from, bytes)
      writeU64(frames, from + letterAt.position, positions[i] as number)
      for (let j = 0; j < this.#conversation.length; j++)
        frames[from + letterAt.conversation + j] = this.#conversation[j] as number
      const content = this.#run.contentFrom(i)
      const kept = bytes - letterAt.generation
      frames.set(new Uint8Array(this.#run.bytes.buffer, content, kept), from + letterAt.generation)
      from += bytes
    }
    return frames
  }

  #accept(content: number, sequence: number, nowMs: number): void {
    writeU64(this.#run.bytes, content + at.sequence, sequence)
    writeU64(this.#run.bytes, content + at.time, nowMs)
  }
}

/** What it makes of a CRC that sequence and time take the place of the epoch and 0. */
function acceptedChange(epoch: number, sequence: number, nowMs: number): number {
  const high = (value: number): number => Math.floor(value / 2 ** 32)
  const sequenced = crcState(crcState(0, epoch ^ sequence), high(epoch) ^ high(sequence))
  return crcState(crcState(sequenced, nowMs), high(nowMs))
}

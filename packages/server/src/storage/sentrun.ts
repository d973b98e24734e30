import type { SendId } from '@messageu/protocol/v3'
import type { BoxMessage, SentRecord } from '../archive.ts'
import type { SendFields } from './devicesends.ts'
import { archiveType, liesInFile, sealedHeadBytes } from './records.ts'

/**
 * Where the fields of an entry stand: the length of its sealed form 4, number 8, CRC-32 of the content 4, digest 8; then
 * the sealed form, which is id 16, low half of the position 4, type 1, content size 4, content.
 */
export const entryAt = {
  length: 0,
  number: 4,
  crc: 12,
  digest: 16,
  sealed: 24,
  position: 40,
  type: 44,
  size: 45,
  content: 49,
} as const

/** Runs lie in one buffer behind each other: one of its own for each costs more than all else about it. */
const slabBytes = 2 ** 18
let slab = newSlab()
let slabUsed = 0

function newSlab(): { bytes: Buffer; view: DataView } {
  const bytes = Buffer.allocUnsafeSlow(slabBytes)
  return { bytes, view: new DataView(bytes.buffer) }
}

/** Where the messages of a run go, and who sends them: the same for all. `sequence` is that of the first. */
export interface RunPlace extends Pick<SentRecord, 'device' | 'conversation' | 'sequence'> {
  readonly box: number
}

/**
 * Messages that one device has sent in one go, into one box: each what a `BoxMessage` with `sent` is, the sequences one
 * behind the other. They lie as they will go into the ring, and nothing is made of any of them alone: there are some
 * hundred thousand a second. Small ones only, in one turn of the event loop, one run at a time.
 */
export class SentRun {
  readonly place: RunPlace
  readonly numbers: number[] = []
  /** Where the entries begin in `bytes`. */
  readonly entries: number[] = []
  readonly #slab: { bytes: Buffer; view: DataView }
  readonly #from: number
  #end: number

  constructor(place: RunPlace, firstContentBytes: number) {
    if (slabUsed + entryAt.content + firstContentBytes > slabBytes) {
      slab = newSlab()
      slabUsed = 0
    }
    this.place = place
    this.#slab = slab
    this.#from = slabUsed
    this.#end = slabUsed
  }

  /** Whether a message may be in a run at all. */
  static takes(contentBytes: number): boolean {
    return !liesInFile(sealedHeadBytes + contentBytes)
  }

  get count(): number {
    return this.numbers.length
  }

  /** Whether one more has room. */
  hasRoom(contentBytes: number): boolean {
    return this.#slab === slab && this.#end === slabUsed && slabUsed + entryAt.content + contentBytes <= slabBytes
  }

  /** Returns where in `bytes` its content goes, and who adds it sees to that and to the digests. */
  add(number: number, id: Uint8Array, contentBytes: number): number {
    const { bytes, view } = this.#slab
    const entry = this.#end
    view.setUint32(entry, sealedHeadBytes + contentBytes, true)
    view.setFloat64(entry + entryAt.number, number, true)
    for (let i = 0; i < id.length; i++) bytes[entry + entryAt.sealed + i] = id[i] as number
    bytes[entry + entryAt.type] = archiveType
    view.setUint32(entry + entryAt.size, contentBytes, true)
    this.numbers.push(number)
    this.entries.push(entry)
    this.#end = slabUsed = entry + entryAt.content + contentBytes
    return entry + entryAt.content
  }

  /** The two halves of the digest of what was added last, and the CRC-32 of its content as it is stored. */
  digest(low: number, high: number, crc: number): void {
    const { view } = this.#slab
    const entry = this.entries.at(-1) as number // something was added
    view.setUint32(entry + entryAt.digest, low, true)
    view.setUint32(entry + entryAt.digest + 4, high, true)
    view.setUint32(entry + entryAt.crc, crc, true)
  }

  /** Of which the run is a part. */
  get bytes(): Buffer {
    return this.#slab.bytes
  }

  /** All entries. */
  get written(): Uint8Array {
    return new Uint8Array(this.bytes.buffer, this.#from, this.#end - this.#from)
  }

  /** Bytes of all entries. */
  get length(): number {
    return this.#end - this.#from
  }

  /** Where in `bytes` a content begins. */
  contentFrom(index: number): number {
    return (this.entries[index] as number) + entryAt.content // within its bounds
  }

  contentBytes(index: number): number {
    return this.#slab.view.getUint32((this.entries[index] as number) + entryAt.size, true) // within its bounds
  }

  /** The CRC-32 of a content. */
  crcOf(index: number): number {
    return this.#slab.view.getUint32((this.entries[index] as number) + entryAt.crc, true) // within its bounds
  }

  /** One of them, for whoever wants them one by one. Its bytes are views. */
  message(index: number): BoxMessage & { readonly sent: SendFields } {
    const { bytes, place, numbers } = this
    const { box, device, conversation, sequence } = place
    const entry = this.entries[index] as number // within its bounds
    const content = this.contentFrom(index)
    const id = bytes.subarray(entry + entryAt.sealed, entry + entryAt.position) as Uint8Array as SendId // as many bytes
    const digest = bytes.subarray(entry + entryAt.digest, entry + entryAt.sealed)
    const sent = { device, number: numbers[index] as number, conversation, sequence: sequence + index, digest }
    return { box, id, content: bytes.subarray(content, content + this.contentBytes(index)), sent }
  }
}

import type { SendId } from '@messageu/protocol/v3'
import type { SentRecord } from '../archive.ts'

/** Number, conversation, sequence, position, time: 8 each. Then the digest 8 and the id 16. */
const slotBytes = 64
const digestAt = 40
const idAt = 48
const idBytes = 16

/** Records of one device's sends in a few bytes each. A slot that was never written has the number 0. */
export class SentSlots {
  #bytes: Uint8Array
  #view: DataView

  constructor(count: number) {
    this.#bytes = new Uint8Array(count * slotBytes)
    this.#view = new DataView(this.#bytes.buffer)
  }

  get count(): number {
    return this.#bytes.length / slotBytes
  }

  set(slot: number, record: SentRecord): void {
    const at = slot * slotBytes
    this.#view.setFloat64(at, record.number)
    this.#view.setFloat64(at + 8, record.conversation)
    this.#view.setFloat64(at + 16, record.sequence)
    this.#view.setFloat64(at + 24, record.position)
    this.#view.setFloat64(at + 32, record.at)
    this.#bytes.set(record.digest, at + digestAt)
    this.#bytes.set(record.id, at + idAt)
  }

  numberAt(slot: number): number {
    return this.#view.getFloat64(slot * slotBytes)
  }

  get(slot: number, device: number): SentRecord {
    const at = slot * slotBytes
    return {
      device,
      number: this.#view.getFloat64(at),
      id: this.#bytes.slice(at + idAt, at + slotBytes) as SendId, // as many bytes as an id has
      conversation: this.#view.getFloat64(at + 8),
      sequence: this.#view.getFloat64(at + 16),
      position: this.#view.getFloat64(at + 24),
      at: this.#view.getFloat64(at + 32),
      digest: this.#bytes.slice(at + digestAt, at + idAt),
    }
  }

  /** A view, valid until the slot is set. */
  idAt(slot: number): Uint8Array {
    const at = slot * slotBytes + idAt
    return this.#bytes.subarray(at, at + idBytes)
  }

  hasId(slot: number, id: Uint8Array): boolean {
    const at = slot * slotBytes + idAt
    for (let i = 0; i < idBytes; i++) if (this.#bytes[at + i] !== id[i]) return false
    return this.numberAt(slot) !== 0
  }

  /** Moves everything `slots` towards the front; what falls out is forgotten. */
  shift(slots: number): void {
    this.#bytes.copyWithin(0, slots * slotBytes)
    this.#bytes.fill(0, this.#bytes.length - slots * slotBytes)
  }

  grow(count: number): void {
    const grown = new Uint8Array(count * slotBytes)
    grown.set(this.#bytes)
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }

  /** Forgets everything and has room for `count`. */
  reset(count: number): void {
    this.#bytes = new Uint8Array(count * slotBytes)
    this.#view = new DataView(this.#bytes.buffer)
  }
}

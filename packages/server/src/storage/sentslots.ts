import type { SendId } from '@messageu/protocol/v3'
import type { SentRecord } from '../archive.ts'

/** Number, conversation, sequence, position, time: 8 each. Then the digest 8 and the id 16. */
const slotBytes = 64
const fieldsPerSlot = slotBytes / 8
const digestAt = 40
const idAt = 48
const idBytes = slotBytes - idAt

/** Records of one device's sends in a few bytes each. An empty slot has the number 0. */
export class SentSlots {
  #bytes: Uint8Array
  #fields: Float64Array

  constructor(count: number) {
    this.#bytes = new Uint8Array(count * slotBytes)
    this.#fields = new Float64Array(this.#bytes.buffer)
  }

  get count(): number {
    return this.#bytes.length / slotBytes
  }

  set(slot: number, { number, conversation, sequence, position, at, digest, id }: SentRecord): void {
    this.#fields[slot * fieldsPerSlot] = number
    this.#fields[slot * fieldsPerSlot + 1] = conversation
    this.#fields[slot * fieldsPerSlot + 2] = sequence
    this.settle(slot, position, at)
    this.#bytes.set(digest, slot * slotBytes + digestAt)
    this.#bytes.set(id, slot * slotBytes + idAt)
  }

  /** The same for a send that is under way. Digest and id stand in `bytes` at `from`, one behind the other. */
  begin(
    slot: number,
    numbers: readonly [number: number, conversation: number, sequence: number],
    bytes: Uint8Array,
    from: number,
  ): void {
    const at = slot * fieldsPerSlot
    for (let i = 0; i < 3; i++) this.#fields[at + i] = numbers[i] as number
    this.settle(slot, 0, 0)
    const to = slot * slotBytes + digestAt
    for (let i = 0; i < slotBytes - digestAt; i++) this.#bytes[to + i] = bytes[from + i] as number
  }

  /** The send is durable there. */
  settle(slot: number, position: number, at: number): void {
    this.#fields[slot * fieldsPerSlot + 3] = position
    this.#fields[slot * fieldsPerSlot + 4] = at
  }

  clear(slot: number): void {
    this.#bytes.fill(0, slot * slotBytes, (slot + 1) * slotBytes)
  }

  numberAt(slot: number): number {
    return this.#fields[slot * fieldsPerSlot] as number // of its slots
  }

  /** Whether it has a send that is under way. */
  isUnderWay(slot: number): boolean {
    return this.numberAt(slot) !== 0 && this.#fields[slot * fieldsPerSlot + 3] === 0
  }

  get(slot: number, device: number): SentRecord {
    const [number, conversation, sequence, position, at] = this.#fields.subarray(slot * fieldsPerSlot) as unknown as [
      number,
      number,
      number,
      number,
      number,
    ]
    return {
      device,
      number,
      id: this.#bytes.slice(slot * slotBytes + idAt, (slot + 1) * slotBytes) as SendId, // as many bytes as an id has
      conversation,
      sequence,
      position,
      at,
      digest: this.#bytes.slice(slot * slotBytes + digestAt, slot * slotBytes + idAt),
    }
  }

  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** Where in `bytes` a slot has its id. */
  idAt(slot: number): number {
    return slot * slotBytes + idAt
  }

  hasId(slot: number, id: Uint8Array): boolean {
    const at = this.idAt(slot)
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
    this.#fields = new Float64Array(grown.buffer)
  }
}

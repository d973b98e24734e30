import type { SendId } from '@messageu/protocol/v3'
import { archiveLimits, type Sends, type SentRecord } from '../archive.ts'
import { SentSlots } from './sentslots.ts'
import { SlotsById } from './slotsbyid.ts'

const slotsAtFirst = 8

/** A send without what is only known when it is durable. */
export type SendFields = Omit<SentRecord, 'id' | 'position' | 'at'>

interface UnderWay {
  readonly id: SendId
  readonly sent: SendFields
  /** Another one whose id begins alike. */
  alike: UnderWay | undefined
  waiting: (() => void)[] | undefined
}

/**
 * What one device has sent lately. The slot of a record is its number modulo the slots. There are as many as it takes
 * for all numbers to have one of their own, up to as many as numbers are recent: then a newer one takes an old one's.
 */
export class DeviceSends implements Sends {
  readonly #device: number
  readonly #slots = new SentSlots(slotsAtFirst)
  #slotsById = new SlotsById(slotsAtFirst)
  readonly #underWay = new Map<number, UnderWay>()
  /** The same by how their ids begin. */
  readonly #underWayById = new Map<number, UnderWay>()
  readonly recent: ReadonlyMap<number, SentRecord>
  /** Of durable sends. */
  #highestDurable = 0
  #highest = 0
  /** Whether it knows what the disk knows; until then it only has what came meanwhile. */
  isWhole = false

  constructor(device: number) {
    this.#device = device
    this.recent = new RecentRecords(this)
  }

  get highest(): number {
    return this.#highest
  }

  get isUnderWay(): boolean {
    return this.#underWay.size > 0
  }

  get slots(): number {
    return this.#slots.count
  }

  get(number: number): SentRecord | undefined {
    const underWay = this.#underWay.get(number)
    if (underWay !== undefined) return recordOf(underWay)
    const slot = number % this.#slots.count
    return number > 0 && this.#slots.numberAt(slot) === number ? this.#slots.get(slot, this.#device) : undefined
  }

  withId(id: SendId): SentRecord | undefined {
    for (let each = this.#underWayById.get(beginningOf(id)); each !== undefined; each = each.alike)
      if (Buffer.compare(each.id, id) === 0) return recordOf(each)
    const slot = this.#slotsById.find(id, (each) => this.#slots.hasId(each, id))
    return slot === undefined ? undefined : this.#slots.get(slot, this.#device)
  }

  *numbers(): Generator<number> {
    for (let slot = 0; slot < this.#slots.count; slot++) {
      const number = this.#slots.numberAt(slot)
      if (number > 0) yield number
    }
    yield* this.#underWay.keys()
  }

  /** Both are kept until the send is settled. */
  begin(id: SendId, sent: SendFields): void {
    const beginning = beginningOf(id)
    const underWay: UnderWay = { id, sent, alike: this.#underWayById.get(beginning), waiting: undefined }
    this.#underWay.set(sent.number, underWay)
    this.#underWayById.set(beginning, underWay)
    this.#highest = Math.max(this.#highest, sent.number)
  }

  accepted(record: SentRecord): void {
    this.add(record)
    this.#settle(record.number)
  }

  refused(number: number): void {
    this.#settle(number)
    this.#highest = Math.max(this.#highestDurable, ...this.#underWay.keys())
  }

  /** Resolves when the send is accepted or refused; undefined if it is not under way. */
  outcome(number: number): Promise<void> | undefined {
    const underWay = this.#underWay.get(number)
    if (underWay === undefined) return undefined
    underWay.waiting ??= []
    return new Promise((resolve) => underWay.waiting?.push(resolve))
  }

  /** A durable record. */
  add(record: SentRecord): void {
    const { number } = record
    this.#highestDurable = Math.max(this.#highestDurable, number)
    this.#highest = Math.max(this.#highest, number)
    if (number <= this.#highestDurable - archiveLimits.recentSends) return
    while (this.#collides(number) && this.#slots.count < archiveLimits.recentSends) this.#widen()
    this.#keep(number % this.#slots.count, record)
  }

  #keep(slot: number, record: SentRecord): void {
    if (this.#slots.numberAt(slot) !== 0) this.#slotsById.remove(slot, this.#slots.idAt(slot))
    this.#slots.set(slot, record)
    this.#slotsById.add(slot, record.id)
  }

  #collides(number: number): boolean {
    const other = this.#slots.numberAt(number % this.#slots.count)
    return other !== 0 && other !== number
  }

  #widen(): void {
    const records = Array.from({ length: this.#slots.count }, (_, slot) => this.#slots.get(slot, this.#device))
    this.#slots.reset(this.#slots.count * 2)
    this.#slotsById = new SlotsById(this.#slots.count)
    for (const record of records) if (record.number > 0) this.#keep(record.number % this.#slots.count, record)
  }

  #settle(number: number): void {
    const underWay = this.#underWay.get(number)
    if (underWay === undefined) return
    this.#underWay.delete(number)
    this.#forgetId(underWay)
    if (underWay.waiting !== undefined) for (const resolve of underWay.waiting) resolve()
  }

  #forgetId(underWay: UnderWay): void {
    const beginning = beginningOf(underWay.id)
    const first = this.#underWayById.get(beginning)
    if (first !== underWay) {
      for (let each = first; each !== undefined; each = each.alike)
        if (each.alike === underWay) each.alike = underWay.alike
    } else if (underWay.alike === undefined) this.#underWayById.delete(beginning)
    else this.#underWayById.set(beginning, underWay.alike)
  }
}

function recordOf({ id, sent: { device, number, conversation, sequence, digest } }: UnderWay): SentRecord {
  return { device, number, id, conversation, sequence, digest, position: 0, at: 0 }
}

/** 30 bits of an id, which are a key that costs nothing. */
function beginningOf(id: SendId): number {
  let beginning = (id[3] as number) & 0x3f
  for (let i = 2; i >= 0; i--) beginning = (beginning << 8) | (id[i] as number)
  return beginning
}

/** The records as a map; each look makes one anew. */
class RecentRecords implements ReadonlyMap<number, SentRecord> {
  readonly #sends: DeviceSends

  constructor(sends: DeviceSends) {
    this.#sends = sends
  }

  get size(): number {
    return this.#sends.numbers().reduce((count) => count + 1, 0)
  }

  get(number: number): SentRecord | undefined {
    return this.#sends.get(number)
  }

  has(number: number): boolean {
    return this.#sends.get(number) !== undefined
  }

  *entries(): MapIterator<[number, SentRecord]> {
    for (const number of this.#sends.numbers()) yield [number, this.#sends.get(number) as SentRecord] // of its numbers
  }

  *keys(): MapIterator<number> {
    yield* this.#sends.numbers()
  }

  *values(): MapIterator<SentRecord> {
    for (const [, record] of this.entries()) yield record
  }

  [Symbol.iterator](): MapIterator<[number, SentRecord]> {
    return this.entries()
  }

  forEach(each: (record: SentRecord, number: number, map: ReadonlyMap<number, SentRecord>) => void): void {
    for (const [number, record] of this.entries()) each(record, number, this)
  }
}

import type { SendId } from '@messageu/protocol/v3'
import { archiveLimits, type Sends, type SentRecord } from '../archive.ts'
import { entryAt, type SentRun } from './sentrun.ts'
import { SentSlots } from './sentslots.ts'
import { SlotsById } from './slotsbyid.ts'

const slotsAtFirst = 8

/** A send without what is only known when it is durable. */
export type SendFields = Omit<SentRecord, 'id' | 'position' | 'at'>

/**
 * What one device has sent lately, with what is under way. The slot of a record is its number modulo the slots. There are
 * as many as it takes for all numbers to have one of their own, up to as many as numbers are recent: then a newer one
 * takes an old one's.
 */
export class DeviceSends implements Sends {
  readonly #device: number
  #slots = new SentSlots(slotsAtFirst)
  #slotsById = new SlotsById(slotsAtFirst)
  /** Under way, with their slot taken by a newer one. */
  readonly #aside = new Map<number, SentRecord>()
  /** Who waits for the outcome of what is under way, by number. */
  readonly #waiting = new Map<number, (() => void)[]>()
  readonly recent: ReadonlyMap<number, SentRecord>
  #underWay = 0
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
    return this.#underWay > 0
  }

  get slots(): number {
    return this.#slots.count
  }

  has(number: number): boolean {
    return number <= this.#highest && number > 0 && (this.#slotOf(number) !== undefined || this.#aside.has(number))
  }

  get(number: number): SentRecord | undefined {
    const slot = number > 0 ? this.#slotOf(number) : undefined
    return slot === undefined ? this.#aside.get(number) : this.#slots.get(slot, this.#device)
  }

  withId(id: SendId): SentRecord | undefined {
    for (const each of this.#aside.values()) if (Buffer.compare(each.id, id) === 0) return each
    const slot = this.#slotsById.find(id, (each) => this.#slots.hasId(each, id))
    return slot === undefined ? undefined : this.#slots.get(slot, this.#device)
  }

  *numbers(): Generator<number> {
    for (let slot = 0; slot < this.#slots.count; slot++) {
      const number = this.#slots.numberAt(slot)
      if (number > 0) yield number
    }
    yield* this.#aside.keys()
  }

  /** A send is called. */
  begin(id: SendId, { number, conversation, sequence, digest }: SendFields): void {
    this.#began(number)
    this.#put({ device: this.#device, number, id, conversation, sequence, digest, position: 0, at: 0 })
  }

  /** Several are called together. */
  beginRun(run: SentRun): void {
    for (let i = 0; i < run.count; i++) {
      const number = run.numbers[i] as number // within its bounds
      this.#began(number)
      this.#makeRoom(number)
      const slot = number % this.#slots.count
      if (this.#mayTake(slot, number)) this.#takeSlot(slot, run, i)
      else this.#put(recordOf(run, i))
    }
  }

  /** It is durable. */
  accepted({ number, position, at }: Pick<SentRecord, 'number' | 'position' | 'at'>): void {
    this.#highestDurable = Math.max(this.#highestDurable, number)
    const slot = this.#slotOf(number)
    if (slot !== undefined) this.#slots.settle(slot, position, at)
    this.#settled(number)
  }

  /** Nothing has become of it. What it took the slot of may be recent again, and is to be loaded. */
  refused(number: number): void {
    const slot = this.#slotOf(number)
    if (slot !== undefined) {
      this.#leaveChain(slot)
      this.#slots.clear(slot)
    }
    this.isWhole = false
    this.#settled(number)
    this.#highest = Math.max(this.#highestDurable, ...this.#aside.keys())
    for (let each = 0; each < this.#slots.count; each++)
      if (this.#slots.isUnderWay(each)) this.#highest = Math.max(this.#highest, this.#slots.numberAt(each))
  }

  /** Resolves when the send is accepted or refused; undefined if it is not under way. */
  outcome(number: number): Promise<void> | undefined {
    if (this.get(number)?.position !== 0) return undefined
    const waiting = this.#waiting.get(number) ?? []
    this.#waiting.set(number, waiting)
    return new Promise((resolve) => waiting.push(resolve))
  }

  /** A durable record. */
  add(record: SentRecord): void {
    const { number } = record
    this.#highestDurable = Math.max(this.#highestDurable, number)
    this.#highest = Math.max(this.#highest, number)
    if (number > this.#highestDurable - archiveLimits.recentSends && !this.has(number)) this.#put(record)
  }

  #slotOf(number: number): number | undefined {
    const slot = number % this.#slots.count
    return this.#slots.numberAt(slot) === number ? slot : undefined
  }

  #began(number: number): void {
    this.#underWay += 1
    this.#highest = Math.max(this.#highest, number)
  }

  #put(record: SentRecord): void {
    const { number } = record
    this.#makeRoom(number)
    const slot = number % this.#slots.count
    if (this.#slots.numberAt(slot) > number) this.#putAside(record)
    else {
      if (!this.#mayTake(slot, number)) this.#putAside(this.#slots.get(slot, this.#device))
      this.#keep(slot, record)
    }
  }

  /** Sees to it that a number has a slot of its own, if there may be as many. */
  #makeRoom(number: number): void {
    while (this.#isOther(number % this.#slots.count, number) && this.#slots.count < archiveLimits.recentSends)
      this.#widen()
  }

  #isOther(slot: number, number: number): boolean {
    const there = this.#slots.numberAt(slot)
    return there !== 0 && there !== number
  }

  /** Whether nothing is lost when a number takes a slot but what is old. */
  #mayTake(slot: number, number: number): boolean {
    return this.#slots.numberAt(slot) <= number && !this.#slots.isUnderWay(slot)
  }

  #putAside(record: SentRecord): void {
    if (record.position === 0) this.#aside.set(record.number, { ...record, id: record.id.slice() as SendId }) // a copy
  }

  #keep(slot: number, record: SentRecord): void {
    this.#leaveChain(slot)
    this.#slots.set(slot, record)
    this.#slotsById.add(slot, record.id)
  }

  #takeSlot(slot: number, { place, numbers, entries, bytes }: SentRun, index: number): void {
    this.#leaveChain(slot)
    const sent = [numbers[index] as number, place.conversation, place.sequence + index] as const // within its bounds
    this.#slots.begin(slot, sent, bytes, (entries[index] as number) + entryAt.digest)
    this.#slotsById.add(slot, this.#slots.bytes, this.#slots.idAt(slot))
  }

  #leaveChain(slot: number): void {
    if (this.#slots.numberAt(slot) !== 0) this.#slotsById.remove(slot, this.#slots.bytes, this.#slots.idAt(slot))
  }

  #widen(): void {
    const before = this.#slots
    this.#slots = new SentSlots(before.count * 2)
    this.#slotsById = new SlotsById(this.#slots.count)
    for (let slot = 0; slot < before.count; slot++) {
      const number = before.numberAt(slot)
      if (number > 0) this.#keep(number % this.#slots.count, before.get(slot, this.#device))
    }
  }

  #settled(number: number): void {
    this.#underWay -= 1
    if (this.#aside.size > 0) this.#aside.delete(number)
    if (this.#waiting.size === 0) return // as nearly always
    for (const resolve of this.#waiting.get(number) ?? []) resolve()
    this.#waiting.delete(number)
  }
}
/** A copy of what is said of one of a run, as long as it is under way. */
function recordOf(run: SentRun, index: number): SentRecord {
  const { id, sent } = run.message(index)
  return { ...sent, id: id.slice() as SendId, digest: sent.digest.slice(), position: 0, at: 0 } // copies
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

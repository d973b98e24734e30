import type { DatabaseSync } from 'node:sqlite'
import type { SentRecord } from '../archive.ts'
import { replayDeeds } from './deeds.ts'
import { mustMatch } from './rows.ts'
import { SentSlots } from './sentslots.ts'

const slotsAtFirst = 4
/** Folded rows whose records are dropped together. */
const pruneRows = 1024

interface DeviceDeeds {
  readonly slots: SentSlots
  /** The journal row of each slot. */
  readonly rows: number[]
  acknowledged: number
  acknowledgedIn: number
}

interface Row {
  readonly number: number
  readonly deeds: Uint8Array
  readonly deeds_digest: number
}

/** What the journal says of devices and is not yet folded, by device. Read when it is first asked for, then kept up. */
export class UnfoldedDeeds {
  readonly #devices = new Map<number, DeviceDeeds>()
  readonly #oldest
  readonly #newer
  /** The newest row that was read, and the oldest that there was when folded ones were last dropped. */
  #read = 0
  #pruned = 0
  #first = 0

  constructor(database: DatabaseSync) {
    this.#oldest = database.prepare('SELECT ifnull(min(number), 0) AS first FROM journal')
    this.#newer = database.prepare(
      'SELECT number, deeds, deeds_digest FROM journal WHERE number > ? AND deeds IS NOT NULL ORDER BY number',
    )
  }

  /** Looks what has come and what was folded. To be called in the read transaction that asks. */
  refresh(): void {
    const { first } = this.#oldest.get() as { first: number }
    this.#first = first === 0 ? this.#read + 1 : first
    if (this.#first - this.#pruned >= pruneRows || first === 0) this.#prune()
    for (const row of this.#newer.iterate(this.#read)) {
      const { number, deeds, deeds_digest } = row as unknown as Row // as the query names its columns
      mustMatch(`deeds in journal row ${number}`, deeds_digest, number, deeds)
      replayDeeds(deeds, {
        sent: (record) => this.#note(number, record),
        acknowledged: (device, through) => {
          const own = this.#of(device)
          own.acknowledged = Math.max(own.acknowledged, through)
          own.acknowledgedIn = number
        },
      })
      this.#read = number
    }
  }

  /** What a device has sent with a number of at least `from`. */
  sentBy(device: number, from: number): SentRecord[] {
    const { slots, rows } = this.#devices.get(device) ?? nothing
    const found: SentRecord[] = []
    for (const [slot, row] of rows.entries())
      if (row >= this.#first && slots.numberAt(slot) >= from) found.push(slots.get(slot, device))
    return found
  }

  find(device: number, number: number): SentRecord | undefined {
    const { slots, rows } = this.#devices.get(device) ?? nothing
    const slot = rows.findIndex((row, slot) => row >= this.#first && slots.numberAt(slot) === number)
    return slot === -1 ? undefined : slots.get(slot, device)
  }

  /** 0 if it acknowledged nothing. What was folded meanwhile may be said as well: acknowledgements only grow. */
  acknowledgedBy(device: number): number {
    return this.#devices.get(device)?.acknowledged ?? 0
  }

  #note(row: number, record: SentRecord): void {
    const { slots, rows } = this.#of(record.device)
    if (rows.length === slots.count) slots.grow(slots.count * 2)
    slots.set(rows.length, record)
    rows.push(row)
  }

  #of(device: number): DeviceDeeds {
    const known = this.#devices.get(device)
    if (known !== undefined) return known
    const own = { slots: new SentSlots(slotsAtFirst), rows: [], acknowledged: 0, acknowledgedIn: 0 }
    this.#devices.set(device, own)
    return own
  }

  #prune(): void {
    this.#pruned = this.#first
    for (const [device, { slots, rows, acknowledgedIn }] of this.#devices) {
      const live = rows.findIndex((row) => row >= this.#first)
      const folded = live === -1 ? rows.length : live
      slots.shift(folded)
      rows.splice(0, folded)
      if (rows.length === 0 && acknowledgedIn < this.#first) this.#devices.delete(device)
    }
  }
}

const nothing: DeviceDeeds = { slots: new SentSlots(0), rows: [], acknowledged: 0, acknowledgedIn: 0 }

import type { DatabaseSync } from 'node:sqlite'
import { archiveLimits, type SentRecord } from '../archive.ts'
import { packSent, unpackSent } from './deeds.ts'
import { mustMatch, rowDigest } from './rows.ts'

/** The numbers of one row lie this close together, so that a number can only lie in few rows. */
const spanMax = 1024
const recordsPerRow = 128

export interface AcceptedRow {
  readonly device: number
  readonly last: number
  readonly first: number
  readonly digest: number
  readonly records: Uint8Array
}

export function recordsOf({ device, last, first, digest, records }: AcceptedRow): SentRecord[] {
  mustMatch(`accepted sends ${device}/${last}`, digest, device, last, first, records)
  return unpackSent(device, records)
}

/** Adds records of one device, in rows of neighbouring numbers. They may come in any order, but each only once. */
export function acceptedWriter(database: DatabaseSync): (device: number, records: SentRecord[]) => void {
  const insert = database.prepare('INSERT INTO accepted(device, last, first, digest, records) VALUES(?, ?, ?, ?, ?)')
  return (device, records) => {
    records.sort((one, other) => one.number - other.number)
    for (let from = 0; from < records.length; ) {
      const first = (records[from] as SentRecord).number
      let to = from
      while (to < records.length && to - from < recordsPerRow && numberAt(records, to) - first < spanMax) to += 1
      const last = numberAt(records, to - 1)
      const packed = packSent(records.slice(from, to))
      insert.run(device, last, first, rowDigest(device, last, first, packed), packed)
      from = to
    }
  }
}

const numberAt = (records: readonly SentRecord[], index: number): number => (records[index] as SentRecord).number

/** Finds records by device and number. Each call looks at few rows. */
export class AcceptedSends {
  readonly #newest
  readonly #from

  constructor(database: DatabaseSync) {
    this.#newest = database.prepare('SELECT max(last) AS newest FROM accepted WHERE device = ?')
    this.#from = database.prepare(
      'SELECT device, last, first, digest, records FROM accepted WHERE device = ? AND last BETWEEN ? AND ?',
    )
  }

  /** The highest number; 0 if there is none. */
  highest(device: number): number {
    return (this.#newest.get(device) as { newest: number | null }).newest ?? 0
  }

  /** Those above `highest - archiveLimits.recentSends`, and perhaps some below. */
  recent(device: number, highest: number): SentRecord[] {
    return this.#between(device, highest - archiveLimits.recentSends + 1, highest)
  }

  find(device: number, number: number): SentRecord | undefined {
    return this.#between(device, number, number + spanMax - 1).find((record) => record.number === number)
  }

  #between(device: number, low: number, high: number): SentRecord[] {
    const rows = this.#from.all(device, low, high) as unknown as AcceptedRow[] // as the query names its columns
    return rows.flatMap(recordsOf)
  }
}

const rowsPerSlice = 256

/**
 * Forgets records that are older than they have to be kept, some rows at a time. The newest row of a device stays: its
 * highest number tells a device that was set back.
 */
export class AcceptedSweep {
  readonly #keptMs: number
  readonly #everyMs: number
  readonly #rows
  readonly #forget
  readonly #newest
  /** Where the next slice begins, or undefined between two sweeps. */
  #behind: { device: number; last: number } | undefined
  #sweptAt = 0

  constructor(database: DatabaseSync, { keptMs, everyMs }: { keptMs: number; everyMs: number }) {
    this.#keptMs = keptMs
    this.#everyMs = everyMs
    this.#rows = database.prepare(
      'SELECT device, last, first, digest, records FROM accepted WHERE (device, last) > (?, ?) ORDER BY device, last LIMIT ?',
    )
    this.#forget = database.prepare('DELETE FROM accepted WHERE device = ? AND last = ?')
    this.#newest = database.prepare('SELECT max(last) AS newest FROM accepted WHERE device = ?')
  }

  isDue(now: number): boolean {
    return this.#behind !== undefined || now - this.#sweptAt >= this.#everyMs
  }

  /** One slice, inside a transaction of the caller's. Returns how many rows it has deleted. */
  slice(now: number): number {
    const { device, last } = this.#behind ?? { device: 0, last: 0 }
    const rows = this.#rows.all(device, last, rowsPerSlice) as unknown as AcceptedRow[] // as the query names its columns
    let forgotten = 0
    for (const row of rows) {
      if (recordsOf(row).some(({ at }) => at >= now - this.#keptMs)) continue
      if ((this.#newest.get(row.device) as { newest: number }).newest === row.last) continue
      this.#forget.run(row.device, row.last)
      forgotten += 1
    }
    const end = rows.at(-1)
    this.#behind = rows.length < rowsPerSlice ? undefined : end
    if (this.#behind === undefined) this.#sweptAt = now
    return forgotten
  }
}

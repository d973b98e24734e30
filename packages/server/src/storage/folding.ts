import type { DatabaseSync } from 'node:sqlite'
import { limits as protocol } from '@messageu/protocol/v3'
import type { SentRecord } from '../archive.ts'
import { AcceptedSweep, acceptedWriter } from './accepted.ts'
import { type Cursor, isForgotten, joined, keepingBytes, keepingOf } from './cursor.ts'
import { replayDeeds } from './deeds.ts'
import { ColdPositions, replayCold, replayEntry } from './journal.ts'
import { writePosition } from './load.ts'
import type { Discard } from './records.ts'
import { mustMatch, rowDigest } from './rows.ts'

/** Journal rows that may gather before they are folded even under load. */
const journalRowsMax = 65_536
const journalBytesMax = 32 * 2 ** 20
/** Worth folding at the first quiet moment. */
const journalRowsWorth = 256
/** What one step takes at most: it holds up commits for as long as it lasts. */
const stepRows = 256
const stepMessages = 8_192
/** What a row of its own for a mailbox or a device costs, in messages. */
const rowMessages = 4
/** A mailbox's newest cold row is written anew, with more in it, until it has so many bytes: about 128 messages. */
const coldRowBytes = 512
const shortIdleMs = 100
const longIdleMs = 5_000
const sweepEveryMs = 86_400_000

interface Added {
  readonly recipient: number
  readonly position: number
  readonly bytes: number
}

interface ColdRow {
  readonly upto: number
  readonly positions: Uint8Array
  readonly digest: number
}

/** The oldest journal rows, as far as one step goes. */
interface Oldest {
  readonly rows: number
  readonly lastNumber: number
  readonly added: readonly Added[]
  readonly discards: ReadonlyMap<number, Cursor>
  /** By device. */
  readonly sent: ReadonlyMap<number, SentRecord[]>
  readonly acknowledged: ReadonlyMap<number, number>
  readonly deedBytes: number
}

/** What a commit has added to the journal. */
export interface Journalled {
  readonly discards: readonly Discard[]
  readonly deedBytes: number
}

interface JournalRow {
  readonly number: number
  readonly changes: Uint8Array
  readonly digest: number
  readonly deeds: Uint8Array | null
  readonly deeds_digest: number | null
}

/**
 * Keeps the journal short. In quiet moments its oldest rows are folded away: messages that were fetched are deleted in
 * order, those that still wait are noted in `cold`, and the place up to which a mailbox was emptied in `cursors`. What
 * devices did goes to `accepted` and `acknowledged`. Each step is one transaction: a crash leaves the state before or
 * after it.
 */
export class Folding {
  readonly #database: DatabaseSync
  readonly #statements
  readonly #writePosition: (position: number) => void
  /** What the discards that this process has seen, and that are not yet folded, amount to. */
  readonly #cursors = new Map<number, Cursor>()
  readonly #putSent: (device: number, records: SentRecord[]) => void
  readonly #sweep: AcceptedSweep
  #rows: number
  #bytes: number
  #quiet: boolean
  /** A step stopped inside a large discard. */
  #unfinished = false
  /** It has been quiet for long enough to begin, and nothing has come since. */
  #begun = false

  constructor(database: DatabaseSync, journalRows: number, journalBytes = 0) {
    this.#database = database
    this.#rows = journalRows
    this.#bytes = journalBytes
    this.#putSent = acceptedWriter(database)
    this.#sweep = new AcceptedSweep(database, { keptMs: protocol.acceptedMs, everyMs: sweepEveryMs })
    this.#quiet = journalRows === 0
    this.#writePosition = writePosition(database)
    this.#statements = {
      oldest: database.prepare(
        'SELECT number, changes, digest, deeds, deeds_digest FROM journal ORDER BY number LIMIT ?',
      ),
      forgetJournal: database.prepare('DELETE FROM journal WHERE number <= ?'),
      forgetMessages: database.prepare('DELETE FROM messages WHERE position BETWEEN ? AND ?'),
      cold: database.prepare('INSERT INTO cold(recipient, upto, digest, positions) VALUES(?, ?, ?, ?)'),
      covered: database.prepare(
        'SELECT upto, positions, digest FROM cold WHERE recipient = ? AND upto <= ? ORDER BY upto',
      ),
      coveredInPart: database.prepare(
        'SELECT upto, positions, digest FROM cold WHERE recipient = ? AND upto > ? ORDER BY upto LIMIT 1',
      ),
      newestCold: database.prepare(
        `SELECT upto, positions, digest FROM cold WHERE recipient = ?1 AND length(positions) < ?2
           AND upto = (SELECT max(upto) FROM cold WHERE recipient = ?1)`,
      ),
      forgetCold: database.prepare('DELETE FROM cold WHERE recipient = ? AND upto BETWEEN ? AND ?'),
      cursor: database.prepare('SELECT through, keeping, digest FROM cursors WHERE recipient = ?'),
      putCursor: database.prepare(
        'INSERT OR REPLACE INTO cursors(recipient, through, keeping, digest) VALUES(?, ?, ?, ?)',
      ),
      acknowledged: database.prepare('SELECT through, digest FROM acknowledged WHERE device = ?'),
      putAcknowledged: database.prepare('INSERT OR REPLACE INTO acknowledged(device, through, digest) VALUES(?, ?, ?)'),
    }
  }

  /** How long the writer should wait for records before it folds. */
  get idleMs(): number {
    if (this.#rows >= journalRowsWorth || this.#unfinished || this.#begun) return shortIdleMs
    return this.#quiet ? 2 ** 31 - 1 : longIdleMs
  }

  /** The journal must not grow any further. */
  get overdue(): boolean {
    return this.#rows > journalRowsMax || this.#bytes > journalBytesMax
  }

  /** A commit added a journal row. */
  committed({ discards, deedBytes }: Journalled): void {
    this.#rows += 1
    this.#bytes += deedBytes
    this.#quiet = false
    this.#begun = false
    for (const discard of discards)
      this.#cursors.set(discard.recipient, joined(this.#cursors.get(discard.recipient), discard))
  }

  /** Waits for the next quiet moment, or for good if there is nothing to do. */
  postpone(): void {
    this.#quiet = true
    this.#unfinished = false
    this.#begun = false
  }

  /**
   * One step. Returns about how many pages it wrote. `position` is the highest handed out, `now` the time of the newest
   * message, 0 if there has not been any.
   */
  step(position: number, now: number): number {
    const oldest = this.#oldest()
    if (oldest === undefined) return this.#tidy(now)
    this.#begun = true
    this.#database.exec('BEGIN IMMEDIATE')
    const forgotten = this.#forgetCovered(oldest.discards)
    this.#unfinished = forgotten >= stepMessages
    if (!this.#unfinished) {
      this.#sortAway(oldest)
      this.#writePosition(position)
    }
    this.#database.exec('COMMIT')
    if (!this.#unfinished) this.#folded(oldest)
    return 8 + Math.ceil((oldest.added.length + forgotten) / 4) + 2 * (oldest.sent.size + oldest.acknowledged.size)
  }

  /** The journal is empty: what is left to do is to forget sends that need not be known any more. */
  #tidy(now: number): number {
    this.#rows = 0
    this.#bytes = 0
    if (!this.#sweep.isDue(now)) {
      this.postpone()
      return 0
    }
    this.#begun = true
    this.#database.exec('BEGIN IMMEDIATE')
    const forgotten = this.#sweep.slice(now)
    this.#database.exec('COMMIT')
    return forgotten
  }

  #oldest(): Oldest | undefined {
    const added: Added[] = []
    const discards = new Map<number, Cursor>()
    const sent = new Map<number, SentRecord[]>()
    const acknowledged = new Map<number, number>()
    const mailboxes = new Set<number>()
    let rows = 0
    let lastNumber = 0
    let deedBytes = 0
    for (const row of this.#statements.oldest.iterate(stepRows)) {
      const { number, changes, digest, deeds, deeds_digest } = row as unknown as JournalRow // as the query names them
      mustMatch(`journal row ${number}`, digest, number, changes)
      replayEntry(changes, {
        added: (recipient, position, bytes) => {
          added.push({ recipient, position, bytes })
          mailboxes.add(recipient)
        },
        discarded: (recipient, through, keeping) =>
          discards.set(recipient, joined(discards.get(recipient), { through, keeping })),
      })
      if (deeds !== null) {
        mustMatch(`deeds in journal row ${number}`, deeds_digest ?? 0, number, deeds)
        replayDeeds(deeds, {
          sent: (record) => gatherIn(sent, record.device, record),
          acknowledged: (device, through) => acknowledged.set(device, Math.max(acknowledged.get(device) ?? 0, through)),
        })
        deedBytes += deeds.length
      }
      rows += 1
      lastNumber = number
      const ownRows = mailboxes.size + discards.size + sent.size + acknowledged.size
      if (added.length + rowMessages * ownRows >= stepMessages) break
    }
    return rows === 0 ? undefined : { rows, lastNumber, added, discards, sent, acknowledged, deedBytes }
  }

  /** Deletes what `cold` still holds of discarded messages, about `stepMessages` at most; returns how many. */
  #forgetCovered(discards: ReadonlyMap<number, Cursor>): number {
    let forgotten = 0
    for (const [recipient, cursor] of discards) {
      const doomed: number[] = []
      const kept = new ColdPositions()
      const sort = (row: ColdRow): void =>
        replayCold(verifyCold(recipient, row), (position, bytes) => {
          if (isForgotten(cursor, position)) doomed.push(position)
          else kept.add(position, bytes)
        })
      let last = 0
      let isWhole = true
      for (const row of this.#statements.covered.iterate(recipient, cursor.through)) {
        isWhole = forgotten + doomed.length < stepMessages
        if (!isWhole) break
        sort(row as unknown as ColdRow) // as the query names its columns
        last = (row as unknown as ColdRow).upto
      }
      const inPart = isWhole ? this.#statements.coveredInPart.get(recipient, cursor.through) : undefined
      if (inPart !== undefined) {
        sort(inPart as unknown as ColdRow)
        last = (inPart as unknown as ColdRow).upto
      }
      if (doomed.length === 0) continue
      this.#forgetMessages(doomed)
      this.#statements.forgetCold.run(recipient, 0, last)
      if (kept.upto > 0) this.#putCold(recipient, kept)
      forgotten += doomed.length
    }
    return forgotten
  }

  /** Deletes the messages that were discarded since, and notes everything else where it stays. */
  #sortAway({ added, discards, sent, acknowledged, lastNumber }: Oldest): void {
    const doomed: number[] = []
    const survivors = new Map<number, Added[]>()
    for (const message of added) {
      const { recipient, position } = message
      if (isForgotten(discards.get(recipient), position) || isForgotten(this.#cursors.get(recipient), position))
        doomed.push(position)
      else gatherIn(survivors, recipient, message)
    }
    this.#forgetMessages(doomed)
    for (const [recipient, messages] of survivors) this.#addCold(recipient, messages)
    for (const [recipient, cursor] of discards) this.#putCursor(recipient, joined(this.#cursorOf(recipient), cursor))
    for (const [device, records] of sent) this.#putSent(device, records)
    for (const [device, through] of acknowledged) this.#putAcknowledged(device, through)
    this.#statements.forgetJournal.run(lastNumber)
  }

  #folded({ rows, discards, deedBytes }: Oldest): void {
    this.#rows = Math.max(0, this.#rows - rows)
    this.#bytes = Math.max(0, this.#bytes - deedBytes)
    for (const [recipient, { through }] of discards)
      if ((this.#cursors.get(recipient)?.through ?? 0) <= through) this.#cursors.delete(recipient)
  }

  #cursorOf(recipient: number): Cursor | undefined {
    const row = this.#statements.cursor.get(recipient)
    if (row === undefined) return undefined
    const { through, keeping, digest } = row as { through: number; keeping: Uint8Array; digest: number }
    mustMatch(`cursor ${recipient}`, digest, recipient, through, keeping)
    return { through, keeping: keepingOf(keeping) }
  }

  #putCursor(recipient: number, { through, keeping }: Cursor): void {
    const bytes = keepingBytes(keeping)
    this.#statements.putCursor.run(recipient, through, bytes, rowDigest(recipient, through, bytes))
  }

  /** Notes messages in the newest row of their mailbox as long as that is short: a start reads few rows. */
  #addCold(recipient: number, messages: readonly Added[]): void {
    const newest = this.#statements.newestCold.get(recipient, coldRowBytes) as ColdRow | undefined
    if (newest !== undefined) {
      verifyCold(recipient, newest)
      this.#statements.forgetCold.run(recipient, newest.upto, newest.upto)
    }
    const cold = newest === undefined ? new ColdPositions() : ColdPositions.of(newest)
    for (const { position, bytes } of messages) cold.add(position, bytes)
    this.#putCold(recipient, cold)
  }

  #putAcknowledged(device: number, through: number): void {
    const row = this.#statements.acknowledged.get(device) as { through: number; digest: number } | undefined
    if (row !== undefined) mustMatch(`what device ${device} acknowledged`, row.digest, device, row.through)
    const highest = Math.max(row?.through ?? 0, through)
    this.#statements.putAcknowledged.run(device, highest, rowDigest(device, highest))
  }

  #putCold(recipient: number, cold: ColdPositions): void {
    const positions = cold.bytes()
    this.#statements.cold.run(recipient, cold.upto, rowDigest(recipient, cold.upto, positions), positions)
  }

  /** Deletes in runs of neighbouring positions. Positions between two of a run were never messages of others. */
  #forgetMessages(positions: number[]): void {
    positions.sort((a, b) => a - b)
    for (let first = 0; first < positions.length; ) {
      let last = first
      while (last + 1 < positions.length && positions[last + 1] === (positions[last] as number) + 1) last += 1
      this.#statements.forgetMessages.run(positions[first] as number, positions[last] as number)
      first = last + 1
    }
  }
}

/** The positions of a row, which are what was stored. */
function verifyCold(recipient: number, { upto, positions, digest }: ColdRow): Uint8Array {
  mustMatch(`cold positions ${recipient}/${upto}`, digest, recipient, upto, positions)
  return positions
}

function gatherIn<T>(lists: Map<number, T[]>, key: number, value: T): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}

import type { DatabaseSync } from 'node:sqlite'
import { type Cursor, isForgotten, joined, keepingBytes, keepingOf } from './cursor.ts'
import { ColdPositions, replayCold, replayEntry } from './journal.ts'
import { writePosition } from './load.ts'
import type { Discard } from './records.ts'
import { mustMatch, rowDigest } from './rows.ts'

/** Journal rows that may gather before they are folded even under load. */
const journalRowsMax = 65_536
/** Worth folding at the first quiet moment. */
const journalRowsWorth = 256
/** What one step takes at most: it holds up commits for as long as it lasts. */
const stepRows = 256
const stepMessages = 8_192
const shortIdleMs = 100
const longIdleMs = 5_000

interface Added {
  readonly recipient: number
  readonly position: number
  readonly bytes: number
}

/** The oldest journal rows, as far as one step goes. */
interface Oldest {
  readonly rows: number
  readonly lastNumber: number
  readonly added: readonly Added[]
  readonly discards: ReadonlyMap<number, Cursor>
}

/**
 * Keeps the journal short. In quiet moments its oldest rows are folded away: messages that were fetched are deleted in
 * order, those that still wait are noted in `cold`, one row per mailbox, and the place up to which a mailbox was
 * emptied in `cursors`. Each step is one transaction: a crash leaves the state before or after it.
 */
export class Folding {
  readonly #database: DatabaseSync
  readonly #statements
  readonly #writePosition: (position: number) => void
  /** What the discards that this process has seen, and that are not yet folded, amount to. */
  readonly #cursors = new Map<number, Cursor>()
  #rows: number
  #quiet: boolean
  /** A step stopped inside a large discard. */
  #unfinished = false
  /** It has been quiet for long enough to begin, and nothing has come since. */
  #begun = false

  constructor(database: DatabaseSync, journalRows: number) {
    this.#database = database
    this.#rows = journalRows
    this.#quiet = journalRows === 0
    this.#writePosition = writePosition(database)
    this.#statements = {
      oldest: database.prepare('SELECT number, changes, digest FROM journal ORDER BY number LIMIT ?'),
      forgetJournal: database.prepare('DELETE FROM journal WHERE number <= ?'),
      forgetMessages: database.prepare('DELETE FROM messages WHERE position BETWEEN ? AND ?'),
      cold: database.prepare('INSERT INTO cold(recipient, upto, digest, positions) VALUES(?, ?, ?, ?)'),
      covered: database.prepare(
        'SELECT upto, positions, digest FROM cold WHERE recipient = ? AND upto <= ? ORDER BY upto',
      ),
      forgetCold: database.prepare('DELETE FROM cold WHERE recipient = ? AND upto <= ?'),
      cursor: database.prepare('SELECT through, keeping, digest FROM cursors WHERE recipient = ?'),
      putCursor: database.prepare(
        'INSERT OR REPLACE INTO cursors(recipient, through, keeping, digest) VALUES(?, ?, ?, ?)',
      ),
    }
  }

  /** How long the writer should wait for records before it folds. */
  get idleMs(): number {
    if (this.#rows >= journalRowsWorth || this.#unfinished || this.#begun) return shortIdleMs
    return this.#quiet ? 2 ** 31 - 1 : longIdleMs
  }

  /** The journal must not grow any further. */
  get overdue(): boolean {
    return this.#rows > journalRowsMax
  }

  /** A commit added a journal row; these are its discards. */
  committed(discards: readonly Discard[]): void {
    this.#rows += 1
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

  /** One step. Returns about how many pages it wrote. `position` is the highest handed out. */
  step(position: number): number {
    const oldest = this.#oldest()
    if (oldest === undefined) {
      this.#rows = 0
      this.postpone()
      return 0
    }
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
    return 8 + Math.ceil((oldest.added.length + forgotten) / 4)
  }

  #oldest(): Oldest | undefined {
    const added: Added[] = []
    const discards = new Map<number, Cursor>()
    let rows = 0
    let lastNumber = 0
    for (const row of this.#statements.oldest.iterate(stepRows)) {
      const { number, changes, digest } = row as { number: number; changes: Uint8Array; digest: number }
      mustMatch(`journal row ${number}`, digest, number, changes)
      replayEntry(changes, {
        added: (recipient, position, bytes) => added.push({ recipient, position, bytes }),
        discarded: (recipient, through, keeping) =>
          discards.set(recipient, joined(discards.get(recipient), { through, keeping })),
      })
      rows += 1
      lastNumber = number
      if (added.length + discards.size >= stepMessages) break
    }
    return rows === 0 ? undefined : { rows, lastNumber, added, discards }
  }

  /** Deletes what `cold` still holds of discarded messages, about `stepMessages` at most; returns how many. */
  #forgetCovered(discards: ReadonlyMap<number, Cursor>): number {
    let forgotten = 0
    for (const [recipient, cursor] of discards) {
      const doomed: number[] = []
      const kept = new ColdPositions()
      let last: number | undefined
      for (const row of this.#statements.covered.iterate(recipient, cursor.through)) {
        if (forgotten + doomed.length >= stepMessages) break
        const { upto, positions, digest } = row as { upto: number; positions: Uint8Array; digest: number }
        mustMatch(`cold positions ${recipient}/${upto}`, digest, recipient, upto, positions)
        replayCold(positions, (position, bytes) => {
          if (isForgotten(cursor, position)) doomed.push(position)
          else kept.add(position, bytes)
        })
        last = upto
      }
      if (last === undefined) continue
      this.#forgetMessages(doomed)
      this.#statements.forgetCold.run(recipient, last)
      if (kept.upto > 0) this.#putCold(recipient, kept)
      forgotten += doomed.length
    }
    return forgotten
  }

  /** Deletes the messages that were discarded since, and notes the others and the discards where they stay. */
  #sortAway({ added, discards, lastNumber }: Oldest): void {
    const doomed: number[] = []
    const survivors = new Map<number, ColdPositions>()
    for (const { recipient, position, bytes } of added) {
      if (isForgotten(discards.get(recipient), position) || isForgotten(this.#cursors.get(recipient), position)) {
        doomed.push(position)
        continue
      }
      const cold = survivors.get(recipient) ?? new ColdPositions()
      cold.add(position, bytes)
      survivors.set(recipient, cold)
    }
    this.#forgetMessages(doomed)
    for (const [recipient, cold] of survivors) this.#putCold(recipient, cold)
    for (const [recipient, cursor] of discards) this.#putCursor(recipient, joined(this.#cursorOf(recipient), cursor))
    this.#statements.forgetJournal.run(lastNumber)
  }

  #folded({ rows, discards }: Oldest): void {
    this.#rows = Math.max(0, this.#rows - rows)
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

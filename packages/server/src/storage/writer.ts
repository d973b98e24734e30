import type { DatabaseSync } from 'node:sqlite'
import { workerData } from 'node:worker_threads'
import { limits } from '../limits.ts'
import { isSqliteError, namingDamage, primaryCode, sqliteCodes } from './damage.ts'
import { Folding } from './folding.ts'
import { JournalEntry } from './journal.ts'
import { type Discard, readClient, readDiscard, readMessage, recordKinds } from './records.ts'
import { RingConsumer, type SharedRing } from './ring.ts'
import { rowDigest } from './rows.ts'
import { openForWriting } from './schema.ts'

export interface WriterStart {
  readonly file: string
  readonly ring: SharedRing
  /** The highest position handed out so far. */
  readonly position: number
  /** The number of the newest journal row. */
  readonly journalNumber: number
  readonly journalRows: number
}

/** Pages in the write-ahead log after which they are moved into the database. */
const checkpointPages = 4000
const pageBytes = 4096
/** A disk that failed to sync once cannot be trusted to have kept what came before. Never tried again: K04. */
const syncFailures: readonly number[] = [sqliteCodes.io | (4 << 8), sqliteCodes.io | (5 << 8)]
/** Reasons why a commit failed that may pass: the batch is refused, the next one is tried. */
const passing: readonly number[] = [
  sqliteCodes.full,
  sqliteCodes.io,
  sqliteCodes.readOnly,
  sqliteCodes.cannotOpen,
  sqliteCodes.noMemory,
  sqliteCodes.busy,
]

/** The thread that owns the write connection: takes what has come, commits it, says so, and begins again. */
class Writer {
  readonly #ring: RingConsumer
  readonly #database: DatabaseSync
  readonly #statements
  readonly #entry = new JournalEntry()
  readonly #folding: Folding
  #position: number
  #journalNumber: number
  #walPages = 0

  constructor(start: WriterStart) {
    const database = openForWriting(start.file)
    database.exec('PRAGMA wal_autocheckpoint=0') // done between commits instead, where a failed sync is seen
    this.#database = database
    this.#statements = {
      begin: database.prepare('BEGIN IMMEDIATE'),
      commit: database.prepare('COMMIT'),
      message: database.prepare('INSERT INTO messages(position, at, digest, sealed, content) VALUES(?, ?, ?, ?, ?)'),
      content: database.prepare(
        'INSERT INTO contents(id, position, bytes, content_digest, digest) VALUES(?, ?, ?, ?, ?)',
      ),
      forgetContent: database.prepare('DELETE FROM contents WHERE id = ?'),
      client: database.prepare(
        'INSERT INTO clients(number, login, id, name, public_key, at, digest) VALUES(?, ?, ?, ?, ?, ?, ?)',
      ),
      journal: database.prepare('INSERT INTO journal(number, digest, changes) VALUES(?, ?, ?)'),
      checkpoint: database.prepare('PRAGMA wal_checkpoint(PASSIVE)'),
    }
    this.#ring = new RingConsumer(start.ring)
    this.#folding = new Folding(database, start.journalRows)
    this.#position = start.position
    this.#journalNumber = start.journalNumber
  }

  run(): void {
    for (;;) {
      const state = this.#ring.wait(this.#folding.idleMs)
      if (state === 'closed') break
      if (state === 'records') this.#commitBatch()
      if (state === 'idle' || this.#folding.overdue) this.#fold()
      if (this.#walPages >= checkpointPages) this.#checkpoint()
    }
    this.#database.close()
  }

  /** Everything that has come, in one transaction; tells the main thread what became of it. */
  #commitBatch(): void {
    try {
      this.#statements.begin.run()
      const discards = this.#insertBatch()
      this.#statements.commit.run()
      this.#ring.committed()
      if (discards !== undefined) this.#folding.committed(discards)
    } catch (error) {
      const code = this.#rollBack(error)
      this.#ring.takeAll(limits.commitBytesMax) // where it failed at once, nothing was taken yet
      this.#ring.refused(code) // numbers that were given to refused rows stay unused
    }
  }

  /** Returns the discards among what it inserted, or undefined if the journal did not grow. */
  #insertBatch(): Discard[] | undefined {
    const { message, content, forgetContent, client, journal } = this.#statements
    const discards: Discard[] = []
    let journalled = false
    let bytes = 0
    this.#entry.begin(this.#position)
    for (let record = this.#ring.next(limits.commitBytesMax); record !== undefined; ) {
      switch (record.kind) {
        case recordKinds.message: {
          const row = readMessage(this.#ring, record.offset)
          message.run(row.position, row.at, row.digest, row.sealed, row.content?.id ?? null)
          if (row.content) {
            const { id, bytes, digest } = row.content
            content.run(id, row.position, bytes, digest, rowDigest(id, row.position, bytes, digest))
          }
          this.#entry.added(row.recipient, row.position, row.bytes)
          this.#position = row.position
          journalled = true
          bytes += row.sealed.length
          break
        }
        case recordKinds.client: {
          const { number, login, id, name, publicKey, at } = readClient(this.#ring, record.offset)
          const digest = rowDigest(number, login, id, name, publicKey, at)
          client.run(number, login, id, name, publicKey, at, digest)
          bytes += pageBytes * 4
          break
        }
        case recordKinds.discard: {
          const discard = readDiscard(this.#ring, record.offset)
          for (const id of discard.contents) forgetContent.run(id)
          this.#entry.discarded(discard.recipient, discard.through, discard.keeping)
          discards.push(discard)
          journalled = true
          break
        }
      }
      record = this.#ring.next(limits.commitBytesMax)
    }
    if (journalled) {
      const changes = this.#entry.bytes()
      const number = ++this.#journalNumber
      journal.run(number, rowDigest(number, changes), changes)
      bytes += changes.length
    }
    this.#walPages += 2 + Math.ceil((bytes * 1.1) / pageBytes)
    return journalled ? discards : undefined
  }

  /** Returns the code of a failure that may pass; throws one that ends the process. */
  #rollBack(error: unknown): number {
    if (!isSqliteError(error)) throw error
    if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
    if (syncFailures.includes(error.errcode) || !passing.includes(primaryCode(error))) throw error
    return primaryCode(error)
  }

  #fold(): void {
    try {
      this.#walPages += this.#folding.step(this.#position)
    } catch (error) {
      this.#rollBack(error)
      this.#folding.postpone()
    }
  }

  #checkpoint(): void {
    try {
      this.#statements.checkpoint.get()
    } catch (error) {
      this.#rollBack(error)
    }
    this.#walPages = 0
  }
}

namingDamage('server.db', () => new Writer(workerData as WriterStart).run())

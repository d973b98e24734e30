import type { DatabaseSync } from 'node:sqlite'
import { workerData } from 'node:worker_threads'
import { limits } from '../limits.ts'
import { isSqliteError, namingDamage, primaryCode, sqliteCodes } from './damage.ts'
import { Deeds } from './deeds.ts'
import { Folding, type Journalled } from './folding.ts'
import { JournalEntry } from './journal.ts'
import { MessageRows } from './messagerows.ts'
import {
  type ClientRow,
  type Discard,
  type MessageFields,
  readClient,
  readDiscard,
  readMessage,
  recordKinds,
} from './records.ts'
import { RingConsumer, type RingRecord, type SharedRing } from './ring.ts'
import { rowDigest } from './rows.ts'
import { openForWriting } from './schema.ts'
import { readStep, type StepRows } from './steprecords.ts'

export interface WriterStart {
  readonly file: string
  readonly ring: SharedRing
  /** The highest position handed out so far. */
  readonly position: number
  /** The number of the newest journal row. */
  readonly journalNumber: number
  readonly journalRows: number
  /** Bytes of deeds in it. */
  readonly journalBytes: number
}

/** What the transaction under way has so far. */
interface Batch {
  readonly discards: Discard[]
  /** The journal has to say something of it. */
  hasChanges: boolean
  /** About how many bytes it adds to the write-ahead log. */
  bytes: number
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
  readonly #messages: MessageRows
  readonly #stepRows: StepRows
  readonly #entry = new JournalEntry()
  readonly #deeds = new Deeds()
  readonly #folding: Folding
  #batch: Batch = { discards: [], hasChanges: false, bytes: 0 }
  /** The time of the newest message: the only clock that this thread needs. */
  #at = 0
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
      content: database.prepare(
        'INSERT INTO contents(id, position, bytes, content_digest, digest) VALUES(?, ?, ?, ?, ?)',
      ),
      forgetContent: database.prepare('DELETE FROM contents WHERE id = ?'),
      client: database.prepare(
        'INSERT INTO clients(number, login, id, name, public_key, at, digest) VALUES(?, ?, ?, ?, ?, ?, ?)',
      ),
      object: database.prepare('INSERT OR REPLACE INTO objects(kind, key, value, digest) VALUES(?, ?, ?, ?)'),
      forgetObject: database.prepare('DELETE FROM objects WHERE kind = ? AND key = ?'),
      journal: database.prepare(
        'INSERT INTO journal(number, digest, changes, deeds_digest, deeds) VALUES(?, ?, ?, ?, ?)',
      ),
      checkpoint: database.prepare('PRAGMA wal_checkpoint(PASSIVE)'),
    }
    this.#messages = new MessageRows(database)
    this.#ring = new RingConsumer(start.ring)
    this.#stepRows = this.#takeSteps()
    this.#folding = new Folding(database, start.journalRows, start.journalBytes)
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
      const journalled = this.#insertBatch()
      this.#statements.commit.run()
      this.#ring.committed()
      if (journalled !== undefined) this.#folding.committed(journalled)
    } catch (error) {
      const code = this.#rollBack(error)
      this.#ring.takeAll(limits.commitBytesMax) // where it failed at once, nothing was taken yet
      this.#ring.refused(code) // numbers that were given to refused rows stay unused
    }
  }

  /** Returns what it added to the journal, or undefined if the journal did not grow. */
  #insertBatch(): Journalled | undefined {
    this.#batch = { discards: [], hasChanges: false, bytes: 0 }
    this.#entry.begin(this.#position)
    this.#deeds.begin()
    this.#messages.begin()
    for (let record = this.#ring.next(limits.commitBytesMax); record !== undefined; ) {
      this.#insert(record)
      record = this.#ring.next(limits.commitBytesMax)
    }
    this.#messages.end()
    const { discards, hasChanges } = this.#batch
    const deeds = this.#deeds.bytes()
    if (hasChanges || deeds.length > 0) this.#insertJournal(deeds)
    this.#walPages += 2 + Math.ceil((this.#batch.bytes * 1.1) / pageBytes)
    return hasChanges || deeds.length > 0 ? { discards, deedBytes: deeds.length } : undefined
  }

  #insert({ kind, offset }: RingRecord): void {
    switch (kind) {
      case recordKinds.message:
        this.#insertMessage(readMessage(this.#ring, offset))
        break
      case recordKinds.client:
        this.#insertClient(readClient(this.#ring, offset))
        break
      case recordKinds.discard:
        this.#discard(readDiscard(this.#ring, offset))
        break
      case recordKinds.step:
        readStep(this.#ring, offset, this.#stepRows)
        break
    }
  }

  #insertMessage(row: MessageFields): void {
    this.#messages.add(row)
    if (row.content !== undefined) {
      const { id, bytes, digest } = row.content
      this.#statements.content.run(id, row.position, bytes, digest, rowDigest(id, row.position, bytes, digest))
    }
    this.#entry.added(row.recipient, row.position, row.bytes)
    this.#position = row.position
    this.#at = row.at
    this.#batch.hasChanges = true
    this.#batch.bytes += row.sealed.length
  }

  #insertClient({ number, login, id, name, publicKey, at }: ClientRow): void {
    const digest = rowDigest(number, login, id, name, publicKey, at)
    this.#statements.client.run(number, login, id, name, publicKey, at, digest)
    this.#batch.bytes += pageBytes * 4
  }

  #discard(discard: Discard): void {
    for (const id of discard.contents) this.#statements.forgetContent.run(id)
    this.#entry.discarded(discard.recipient, discard.through, discard.keeping)
    this.#batch.discards.push(discard)
    this.#batch.hasChanges = true
  }

  #putObject(kind: number, key: Uint8Array, value: Uint8Array | undefined): void {
    if (value === undefined) this.#statements.forgetObject.run(kind, key)
    else this.#statements.object.run(kind, key, value, rowDigest(kind, key, value))
    this.#batch.bytes += pageBytes * 2 + (value?.length ?? 0)
  }

  #takeSteps(): StepRows {
    const ring = new Uint8Array(this.#ring.bytes)
    return {
      message: (row) => this.#insertMessage(row),
      sent: (sent, from) => this.#deeds.sent(sent, ring, from),
      object: (kind, key, value) => this.#putObject(kind, key, value),
      trim: (recipient, through) => this.#discard({ recipient, through, keeping: [], contents: [] }),
      acknowledged: (device, through) => this.#deeds.acknowledged(device, through),
      forgotten: (content) => this.#statements.forgetContent.run(content),
    }
  }

  #insertJournal(deeds: Uint8Array): void {
    const changes = this.#entry.bytes()
    const number = ++this.#journalNumber
    const [deedsDigest, deedsColumn] = deeds.length === 0 ? [null, null] : [rowDigest(number, deeds), deeds]
    this.#statements.journal.run(number, rowDigest(number, changes), changes, deedsDigest, deedsColumn)
    this.#batch.bytes += changes.length + deeds.length
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
      this.#walPages += this.#folding.step(this.#position, this.#at)
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

import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Secret } from '@messageu/e2ee'
import { decode, encode, fixed, struct, u64 } from '@messageu/protocol'
import { ClientError } from '../errors.ts'
import { type Change, type Key, type Row, revisionConflict, rowName, type Store, type Table } from '../store.ts'
import { ensurePrivateFile, mustBePrivate } from './private-files.ts'
import { digestBytes, markOf, RowCipher, type SealedRow, toggle } from './row-cipher.ts'
import { damagedBy } from './sqlite-errors.ts'
import { SyncedFile } from './synced-file.ts'

const format = 1

const schema = `
  CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), sealed BLOB NOT NULL) STRICT;
  CREATE TABLE rows (
    kind TEXT NOT NULL, name BLOB NOT NULL, revision INTEGER NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (kind, name)
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${format};
`

/** The revision and the digest of all rows: sealed, so that the file is as it was left or is known to be otherwise. */
const Head = struct({ revision: u64, digest: fixed(digestBytes) })
/** How a row lies in the file: its name there, and what it is in the digest if it is there. */
interface Written {
  readonly name: Uint8Array
  readonly hash: Uint8Array | undefined
}
const writtenMax = 4_096

const headAad = Buffer.from('head\0')

/**
 * The store of a profile: one encrypted SQLite file with one writer, who has locked the profile. Durable when a commit
 * resolves: SQLite has written it to its log then, and the log was synced beside this thread. What is overwritten or
 * deleted is gone from the file (`secure_delete`), and from its log when the store is closed.
 */
export class SqliteStore implements Store {
  readonly #file: string
  readonly #database: DatabaseSync
  readonly #cipher: RowCipher
  readonly #statements: ReturnType<typeof prepare>
  #revision = 0
  #digest = new Uint8Array(digestBytes)
  /** The log, which is there once something was committed. */
  #log: SyncedFile | undefined
  /** Why nothing is committed any more: after a sync that failed, nobody knows what is on the disk. */
  #failure: ClientError | undefined
  /** Of the rows that were written last: those that every message rewrites are neither looked up nor hashed again. */
  readonly #written = new Map<string, Written>()

  private constructor(file: string, database: DatabaseSync, key: Secret) {
    this.#file = file
    this.#database = database
    this.#cipher = new RowCipher(key)
    this.#statements = prepare(database)
  }

  /** Throws `damaged` for a file that is not as it was left, and for a key that does not fit. Nothing is repaired. */
  static async open(file: string, key: Secret): Promise<SqliteStore> {
    ensurePrivateFile(file)
    for (const beside of ['-wal', '-shm', '-journal']) mustBePrivate(`${file}${beside}`)
    const database = new DatabaseSync(file)
    try {
      prepareFile(file, database)
      const store = new SqliteStore(file, database, key)
      store.#load()
      return store
    } catch (error) {
      database.close()
      throw damagedBy(file, error)
    }
  }

  get revision(): number {
    return this.#revision
  }

  async get(table: Table, key: Key): Promise<Uint8Array | undefined> {
    const name = this.#cipher.nameOf(table, key)
    const found = this.#reading(() => this.#statements.get.get(table, name))
    return found === undefined ? undefined : this.#cipher.open(table, sealedRow(found)).value
  }

  async read(table: Table, { after, limit }: { after?: Key | undefined; limit: number }): Promise<readonly Row[]> {
    const { first, next } = this.#statements
    const found = this.#reading(() =>
      after === undefined ? first.all(table, limit) : next.all(table, this.#cipher.nameOf(table, after), limit),
    )
    return found.map((row) => this.#cipher.open(table, sealedRow(row)))
  }

  async commit(changes: readonly Change[], expectedRevision: number): Promise<number> {
    if (this.#failure !== undefined) throw this.#failure
    if (expectedRevision !== this.#revision) throw revisionConflict(expectedRevision, this.#revision)
    const revision = this.#revision + 1
    const digest = this.#digest.slice()
    try {
      this.#database.exec('BEGIN IMMEDIATE')
      for (const change of changes) this.#apply(change, revision, digest)
      this.#statements.setHead.run(this.#cipher.sealBytes(encode(Head, { revision, digest }), headAad))
      this.#database.exec('COMMIT')
    } catch (error) {
      this.#written.clear()
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw damagedBy(this.#file, error)
    }
    this.#revision = revision
    this.#digest = digest
    await this.#sync()
    return revision
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#database.isOpen) return
    await this.#log?.[Symbol.asyncDispose]()
    try {
      this.#database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    } finally {
      this.#database.close()
    }
  }

  async #sync(): Promise<void> {
    try {
      this.#log ??= new SyncedFile(`${this.#file}-wal`)
      await this.#log.sync()
    } catch (cause) {
      this.#failure ??= new ClientError('cannot-store', `${this.#file} cannot be brought to the disk`, { cause })
      throw this.#failure
    }
  }

  #apply({ table, key, value }: Change, revision: number, digest: Uint8Array): void {
    const { put, drop } = this.#statements
    const remembered = rowName(table, key)
    const { name, hash: before } = this.#written.get(remembered) ?? this.#find(table, key)
    this.#written.delete(remembered)
    if (before !== undefined) toggle(digest, before)
    if (value === undefined) return void drop.run(table, name)
    const row = this.#cipher.seal(table, { key, value }, { name, revision })
    const hash = this.#cipher.hashOf(table, markOf(row))
    toggle(digest, hash)
    put.run(table, name, revision, row.sealed)
    this.#remember(remembered, { name, hash })
  }

  #find(table: Table, key: Key): Written {
    const name = this.#cipher.nameOf(table, key)
    const found = this.#statements.get.get(table, name)
    return { name, hash: found && this.#cipher.hashOf(table, markOf(sealedRow(found))) }
  }

  #remember(row: string, written: Written): void {
    this.#written.set(row, written)
    for (const oldest of this.#written.keys()) {
      if (this.#written.size <= writtenMax) return
      this.#written.delete(oldest)
    }
  }

  #load(): void {
    const head = this.#statements.getHead.get()
    const digest = new Uint8Array(digestBytes)
    for (const row of this.#statements.ends.iterate())
      toggle(digest, this.#cipher.hashOf(String(row.kind), markOf(sealedRow(row))))
    if (head === undefined) {
      if (digest.some((byte) => byte !== 0)) throw this.#damaged()
      return
    }
    const opened = this.#cipher.openBytes(bytesOf(head.sealed), headAad, `the head of ${this.#file}`)
    const { revision, digest: expected } = decode(Head, opened)
    if (!Buffer.from(digest).equals(expected)) throw this.#damaged()
    this.#revision = revision
    this.#digest = digest
  }

  #reading<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      throw damagedBy(this.#file, error)
    }
  }

  #damaged(): ClientError {
    return new ClientError('damaged', `the rows of ${this.#file} are not those that were stored`)
  }
}

function prepareFile(file: string, database: DatabaseSync): void {
  const found = database.prepare('PRAGMA user_version').get()?.user_version
  if (typeof found === 'number' && found > format)
    throw new ClientError('newer-storage', `${file} was written by a newer program`)
  // exclusive: one process, so that no memory is shared through a file beside this one
  database.exec('PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL')
  // SQLite syncs log and file where one is copied to the other, and a new log's place in its folder; commits are ours
  database.exec('PRAGMA synchronous=NORMAL')
  database.exec('PRAGMA secure_delete=ON; PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF')
  if (found === 0) database.exec(`BEGIN; ${schema} COMMIT`)
}

function prepare(database: DatabaseSync) {
  const columns = 'SELECT name, revision, sealed FROM rows'
  const ends = 'SELECT kind, name, revision, substr(sealed, -16) AS sealed FROM rows'
  return {
    get: database.prepare(`${columns} WHERE kind = ? AND name = ?`),
    first: database.prepare(`${columns} WHERE kind = ? ORDER BY name LIMIT ?`),
    next: database.prepare(`${columns} WHERE kind = ? AND name > ? ORDER BY name LIMIT ?`),
    put: database.prepare('INSERT OR REPLACE INTO rows (kind, name, revision, sealed) VALUES (?, ?, ?, ?)'),
    drop: database.prepare('DELETE FROM rows WHERE kind = ? AND name = ?'),
    ends: database.prepare(ends),
    getHead: database.prepare('SELECT sealed FROM head'),
    setHead: database.prepare('INSERT OR REPLACE INTO head (id, sealed) VALUES (1, ?)'),
  }
}

type Found = NonNullable<ReturnType<StatementSync['get']>>

function sealedRow({ name, revision, sealed }: Found): SealedRow {
  return { name: bytesOf(name), revision: Number(revision), sealed: bytesOf(sealed) }
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value
  throw new ClientError('damaged', 'a column of the store has another type than was stored')
}

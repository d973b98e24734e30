import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { DamagedStorage, NewerStorage } from './damage.ts'

/** Marks a database as ours: 'MsgU'. */
const applicationId = 0x4d736755

/**
 * Forward only; the index is the version that the step leads to, minus one.
 *
 * `messages` lies in order of arrival without any other index; `sealed` is a message as its recipient fetches it
 * (head and content, or the head alone when the content is a file); its `digest` is the CRC-32 of `sealed`, every
 * other one is that of the row (`rowDigest`). `journal` has one row per commit, `cold` what was waiting when its journal
 * rows were folded away, `cursors` up to where a mailbox was emptied. docs/decisions/0003 says why.
 *
 * Version 3 shares all of them and adds `objects`, by kind and key. What devices did stands in the `deeds` of a journal
 * row until it is folded into `accepted`, which has packed records of sends (`first` to `last`, by number), and into
 * `acknowledged`. docs/decisions/0006.
 *
 * The third changes no table: a `content_digest` may be of another kind from then on, which older programs take for
 * damage. docs/decisions/0004.
 */
const migrations = [
  `CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL, digest INTEGER NOT NULL) WITHOUT ROWID;
   CREATE TABLE clients(number INTEGER PRIMARY KEY, login BLOB NOT NULL, id BLOB NOT NULL,
     name BLOB NOT NULL, public_key BLOB NOT NULL, at INTEGER NOT NULL, digest INTEGER NOT NULL);
   CREATE TABLE messages(position INTEGER PRIMARY KEY, at INTEGER NOT NULL, digest INTEGER NOT NULL,
     sealed BLOB NOT NULL, content INTEGER);
   CREATE TABLE contents(id INTEGER PRIMARY KEY, position INTEGER NOT NULL, bytes INTEGER NOT NULL,
     content_digest INTEGER NOT NULL, digest INTEGER NOT NULL);
   CREATE TABLE journal(number INTEGER PRIMARY KEY, digest INTEGER NOT NULL, changes BLOB NOT NULL);
   CREATE TABLE cold(recipient INTEGER NOT NULL, upto INTEGER NOT NULL, digest INTEGER NOT NULL,
     positions BLOB NOT NULL, PRIMARY KEY(recipient, upto)) WITHOUT ROWID;
   CREATE TABLE cursors(recipient INTEGER PRIMARY KEY, through INTEGER NOT NULL, digest INTEGER NOT NULL,
     keeping BLOB NOT NULL);`,
  `CREATE TABLE objects(kind INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, digest INTEGER NOT NULL,
     PRIMARY KEY(kind, key)) WITHOUT ROWID;
   CREATE TABLE accepted(device INTEGER NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL,
     digest INTEGER NOT NULL, records BLOB NOT NULL, PRIMARY KEY(device, last)) WITHOUT ROWID;
   CREATE TABLE acknowledged(device INTEGER PRIMARY KEY, through INTEGER NOT NULL, digest INTEGER NOT NULL);
   ALTER TABLE journal ADD COLUMN deeds_digest INTEGER;
   ALTER TABLE journal ADD COLUMN deeds BLOB;`,
  '-- no table changes',
]

export const schemaVersion = migrations.length

/**
 * Pragmas of every connection that writes. `synchronous=FULL` is what makes "accepted" mean durable: with WAL and
 * NORMAL a power cut takes acknowledged commits back.
 */
export const writePragmas = `PRAGMA busy_timeout=10000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
  PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=4000;
  PRAGMA journal_size_limit=67108864; PRAGMA secure_delete=FAST; PRAGMA cell_size_check=ON`

/** A connection that writes; checks that commits will be durable before it is handed out. */
export function openForWriting(file: string): DatabaseSync {
  const database = new DatabaseSync(file)
  try {
    database.exec(writePragmas)
    verifyDurable(database)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

export function openForReading(file: string): DatabaseSync {
  const database = new DatabaseSync(file, { readOnly: true })
  database.exec('PRAGMA busy_timeout=10000; PRAGMA cache_size=-16384')
  return database
}

function pragma(database: DatabaseSync, name: string): unknown {
  const row = database.prepare(`PRAGMA ${name}`).get()
  return row === undefined ? undefined : Object.values(row)[0]
}

function verifyDurable(database: DatabaseSync): void {
  const mode = pragma(database, 'journal_mode')
  const synchronous = pragma(database, 'synchronous')
  if (mode !== 'wal' || synchronous !== 2)
    throw new Error(`SQLite refuses durable commits here (journal_mode ${mode}, synchronous ${synchronous})`)
}

/** The schema version of a database of ours. Throws for one that is not, or that is newer than this program. */
export function checkedVersion(database: DatabaseSync): number {
  const version = Number(pragma(database, 'user_version'))
  if (Number(pragma(database, 'application_id')) !== applicationId)
    throw new DamagedStorage('server.db', 'it is not a database of MessageU')
  if (version > schemaVersion) throw new NewerStorage(version, schemaVersion)
  return version
}

/**
 * Brings an empty or older file to this version, in one transaction. A database that is not ours or is newer is refused,
 * and not touched. Tests name an older version to begin with.
 */
export function migrate(file: string, to = schemaVersion): void {
  const from = identify(file)
  if (from >= to) return
  const database = openForWriting(file)
  try {
    if (from > 0) verifySchema(database, from)
    database.exec('BEGIN IMMEDIATE')
    for (const step of migrations.slice(from, to)) database.exec(step)
    database.exec(`PRAGMA application_id=${applicationId}; PRAGMA user_version=${to}; COMMIT`)
  } finally {
    database.close()
  }
}

/** Throws `DamagedStorage` unless the tables are declared as the migrations up to a version declare them. */
export function verifySchema(database: DatabaseSync, version = schemaVersion): void {
  const model = new DatabaseSync(':memory:')
  for (const step of migrations.slice(0, version)) model.exec(step)
  if (declarations(database) !== declarations(model)) throw new DamagedStorage('server.db', 'its schema is not ours')
  model.close()
}

function declarations(database: DatabaseSync): string {
  const query = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
  return JSON.stringify(database.prepare(query).all())
}

/** Looks without writing, unless the very creation of the database was cut short: SQLite has to undo it first. */
function identify(file: string): number {
  const database = existsSync(`${file}-journal`) ? new DatabaseSync(file) : openForReading(file)
  try {
    return isEmpty(database) ? 0 : checkedVersion(database)
  } finally {
    database.close()
  }
}

function isEmpty(database: DatabaseSync): boolean {
  const used = Number(pragma(database, 'user_version')) !== 0 || Number(pragma(database, 'application_id')) !== 0
  return !used && database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
}

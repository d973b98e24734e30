import { statSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import type { ClientId, Name, PublicKey } from '@messageu/protocol/v2'
import { archiveLimits } from '../archive.ts'
import { type Cursor, isForgotten, keepingOf } from './cursor.ts'
import { DamagedStorage, namingDamage } from './damage.ts'
import { Directory } from './directory.ts'
import { databaseFile } from './folder.ts'
import { replayCold, replayEntry } from './journal.ts'
import { Mailboxes } from './mailboxes.ts'
import { liesInFile } from './records.ts'
import { mustMatch, rowDigest } from './rows.ts'
import { migrate, openForReading, openForWriting, verifySchema } from './schema.ts'
import { verifyWal } from './wal.ts'

/** Everything about the stored state that is held in memory. */
export interface LoadedState {
  readonly directory: Directory
  readonly mailboxes: Mailboxes
  /** Ids of all contents that belong to messages that wait. */
  readonly contents: ReadonlySet<number>
  /** Those of version 3, by the position of their message. */
  readonly archiveContents: Map<number, number>
  /** Those that the database still names, although their messages are gone. */
  readonly staleContents: readonly number[]
  readonly clientNumber: number
  readonly position: number
  readonly journalNumber: number
  readonly journalRows: number
  /** Bytes of deeds in it. */
  readonly journalBytes: number
}

/** Opens the database once, checks it, brings it to this version and reads what belongs into memory. */
export function loadState(folder: string): LoadedState {
  const file = databaseFile(folder)
  verifyWal(`${file}-wal`)
  return namingDamage('server.db', () => {
    using _log = keepingLog(file)
    migrate(file)
    const database = openForWriting(file)
    try {
      return readState(database)
    } finally {
      database.close()
    }
  })
}

/**
 * Whoever closes a database last moves its log into it. While a reader is open that is not the one who looks whether
 * anything is damaged: a start that is refused leaves every byte where it was.
 */
function keepingLog(file: string): Disposable {
  if (!hasLog(file)) return { [Symbol.dispose]() {} }
  const reader = openForReading(file)
  try {
    reader.prepare('SELECT count(*) FROM sqlite_schema').get() // opens the log as well
  } catch (error) {
    reader.close()
    throw error
  }
  return { [Symbol.dispose]: () => reader.close() }
}

function hasLog(file: string): boolean {
  return (statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0
}

/** The state that a database of this version stands for. Throws `DamagedStorage` for rows that are not what was stored. */
export function readState(database: DatabaseSync): LoadedState {
  verifySchema(database)
  verifyTables(database)
  const mailboxes = new Mailboxes()
  const { directory, clientNumber } = readClients(database)
  const named = readContents(database)
  const highest = Math.max(readPosition(database), readCold(database, mailboxes))
  const journal = readJournal(database, mailboxes)
  const position = Math.max(highest, journal.position)
  if (newestMessage(database) > position)
    throw new DamagedStorage('server.db', `it holds messages beyond position ${position}, the last that it knows of`)
  return {
    directory,
    clientNumber,
    mailboxes,
    ...sortContents(named, mailboxes),
    position,
    journalNumber: journal.number,
    journalRows: journal.rows,
    journalBytes: journal.bytes,
  }
}

/**
 * Version 2 takes a content out of the database with its message; version 3 does it soon after, and a crash may come in
 * between.
 */
function sortContents(
  named: ReadonlyMap<number, number>,
  mailboxes: Mailboxes,
): Pick<LoadedState, 'contents' | 'archiveContents' | 'staleContents'> {
  const contents = new Set<number>()
  const archiveContents = new Map<number, number>()
  if (named.size > 0)
    for (const mailbox of mailboxes.occupied())
      mailboxes.walk(mailbox, (position, bytes) => {
        const id = liesInFile(bytes) ? named.get(position) : undefined
        if (id !== undefined) contents.add(id)
        if (id !== undefined && mailbox >= archiveLimits.firstBox) archiveContents.set(position, id)
        return true
      })
  return { contents, archiveContents, staleContents: [...named.values()].filter((id) => !contents.has(id)) }
}

/** Leaves the next `count` positions out for good. */
export function skipPositions(database: DatabaseSync, count: number): void {
  writePosition(database)(readState(database).position + count)
}

export function writePosition(database: DatabaseSync): (position: number) => void {
  const statement = database.prepare("INSERT OR REPLACE INTO meta(key, value, digest) VALUES('position', ?, ?)")
  return (position) => {
    statement.run(position, rowDigest(position))
  }
}

/**
 * Finds rows that are missing because their page is damaged: a row's own digest says nothing then. Only the tables
 * that are read as a whole, and are small; a missing message is noticed when it is fetched.
 */
function verifyTables(database: DatabaseSync): void {
  for (const table of ['meta', 'clients', 'contents', 'journal', 'cold', 'cursors']) {
    const [finding] = database.prepare(`PRAGMA quick_check(${table})`).all()
    const what = finding?.quick_check
    if (what !== 'ok') throw new DamagedStorage('server.db', `table ${table}: ${what}`)
  }
}

function newestMessage(database: DatabaseSync): number {
  return (database.prepare('SELECT ifnull(max(position), 0) AS newest FROM messages').get() as { newest: number })
    .newest
}

function readPosition(database: DatabaseSync): number {
  const query = database.prepare("SELECT value, digest FROM meta WHERE key = 'position'")
  const row = query.get() as { value: number; digest: number } | undefined
  if (row === undefined) return 0
  mustMatch('the position', row.digest, row.value)
  return row.value
}

function readClients(database: DatabaseSync): { directory: Directory; clientNumber: number } {
  const directory = new Directory()
  let clientNumber = 0
  const rows = database.prepare('SELECT number, login, id, name, public_key, at, digest FROM clients ORDER BY number')
  for (const row of rows.iterate()) {
    const { number, login, id, name, public_key, at, digest } = row as Record<'number' | 'at' | 'digest', number> &
      Record<'login' | 'id' | 'name' | 'public_key', Uint8Array>
    mustMatch(`client ${number}`, digest, number, login, id, name, public_key, at)
    clientNumber = number
    const client = {
      number,
      login: login as ClientId, // all four were checked at registration, and are unchanged by their digest
      id: id as ClientId,
      name: name as Name,
      publicKey: public_key as PublicKey,
    }
    directory.claimName(client.name)
    directory.add(client)
  }
  return { directory, clientNumber }
}

/** The ids of contents, by the position of their message. */
function readContents(database: DatabaseSync): Map<number, number> {
  const contents = new Map<number, number>()
  const rows = database.prepare('SELECT id, position, bytes, content_digest, digest FROM contents')
  for (const row of rows.iterate()) {
    const { id, position, bytes, content_digest, digest } = row as Record<string, number> & ContentColumns
    mustMatch(`content ${id}`, digest, id, position, bytes, content_digest)
    contents.set(position, id)
  }
  return contents
}

type ContentColumns = Record<'id' | 'position' | 'bytes' | 'content_digest' | 'digest', number>

/** Fills in what was waiting when its journal rows were folded away; returns the highest position that it saw. */
function readCold(database: DatabaseSync, mailboxes: Mailboxes): number {
  const cursors = new Map<number, Cursor>()
  let highest = 0
  for (const row of database.prepare('SELECT recipient, through, keeping, digest FROM cursors').iterate()) {
    const { recipient, through, keeping, digest } = row as Record<'recipient' | 'through' | 'digest', number> & {
      keeping: Uint8Array
    }
    mustMatch(`cursor ${recipient}`, digest, recipient, through, keeping)
    cursors.set(recipient, { through, keeping: keepingOf(keeping) })
    highest = Math.max(highest, through)
  }
  const rows = database.prepare('SELECT recipient, upto, positions, digest FROM cold ORDER BY recipient, upto')
  for (const row of rows.iterate()) {
    const { recipient, upto, positions, digest } = row as Record<'recipient' | 'upto' | 'digest', number> & {
      positions: Uint8Array
    }
    mustMatch(`cold positions ${recipient}/${upto}`, digest, recipient, upto, positions)
    const cursor = cursors.get(recipient)
    replayCold(positions, (position, bytes) => {
      if (!isForgotten(cursor, position)) mailboxes.add(recipient, position, bytes)
    })
    highest = Math.max(highest, upto)
  }
  return highest
}

interface Journal {
  readonly position: number
  readonly number: number
  readonly rows: number
  readonly bytes: number
}

/** What devices did is not read: the reader thread does it when somebody asks. */
function readJournal(database: DatabaseSync, mailboxes: Mailboxes): Journal {
  const replay = {
    added: mailboxes.add.bind(mailboxes),
    discarded: mailboxes.discard.bind(mailboxes),
  }
  let position = 0
  let number = 0
  let rows = 0
  let bytes = 0
  const query = 'SELECT number, changes, digest, ifnull(length(deeds), 0) AS deed_bytes FROM journal ORDER BY number'
  for (const row of database.prepare(query).iterate()) {
    const { number: current, changes, digest, deed_bytes } = row as JournalColumns
    mustMatch(`journal row ${current}`, digest, current, changes)
    position = Math.max(position, replayEntry(changes, replay))
    number = current
    rows += 1
    bytes += deed_bytes
  }
  return { position, number, rows, bytes }
}

type JournalColumns = Record<'number' | 'digest' | 'deed_bytes', number> & { readonly changes: Uint8Array }

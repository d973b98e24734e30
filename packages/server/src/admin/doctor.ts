import { existsSync } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import path from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { FolderInUse, FolderLock, ownerOf } from '../lock.ts'
import { contentDigestLike } from '../storage/contentdigest.ts'
import { contentIds } from '../storage/contents.ts'
import { DamagedStorage, namingDamage } from '../storage/damage.ts'
import { contentFolder, databaseFile } from '../storage/folder.ts'
import { type LoadedState, readState } from '../storage/load.ts'
import { messageReader } from '../storage/messagereader.ts'
import { checkedVersion, openForReading, schemaVersion, verifySchema } from '../storage/schema.ts'
import { verifyWal } from '../storage/wal.ts'
import { restoringFile, stagedFiles, stagingName } from './backup.ts'
import { examineArchive } from './examinearchive.ts'

export interface Finding {
  /** `damage`: something stored is not what was stored. `warning`: worth a look. */
  readonly kind: 'ok' | 'warning' | 'damage'
  readonly object: string
  readonly what: string
}

/**
 * Looks at everything that a data folder holds and reports what it finds; changes nothing. Works beside a running
 * server: it sees one moment of the database.
 */
export async function* examine(folder: string): AsyncGenerator<Finding> {
  const file = databaseFile(folder)
  if (existsSync(restoringFile(folder)))
    yield { kind: 'damage', object: 'server.db', what: 'a restore into this folder did not come to its end' }
  if (!existsSync(file)) {
    yield { kind: 'damage', object: 'server.db', what: `there is none in ${folder}` }
    return
  }
  yield* examineModes(folder)
  yield* examineStaging(folder)
  const inUse = await isInUse(folder)
  const owner = ownerOf(folder)
  if (inUse) yield { kind: 'ok', object: 'lock', what: `in use by process ${owner?.pid ?? '?'}` }
  try {
    if (!inUse) verifyWal(`${file}-wal`)
    yield* examineDatabase(folder, inUse)
  } catch (error) {
    if (!(error instanceof DamagedStorage)) throw error
    yield { kind: 'damage', object: error.object, what: error.message }
  }
}

async function* examineModes(folder: string): AsyncGenerator<Finding> {
  for (const name of ['', 'server.db', 'content', 'lock']) {
    const object = path.join(folder, name)
    const status = await lstat(object).catch(() => undefined)
    if (status === undefined) continue
    if (status.isSymbolicLink()) yield { kind: 'warning', object, what: 'is a link' }
    else if ((status.mode & 0o077) !== 0)
      yield { kind: 'warning', object, what: 'others may look into it: chmod go-rwx' }
  }
}

async function* examineStaging(folder: string): AsyncGenerator<Finding> {
  const staging = path.join(folder, stagingName)
  if (existsSync(path.join(folder, stagedFiles)) && !(await isInUse(staging)))
    yield { kind: 'warning', object: stagingName, what: 'left by a backup that was cut short; the next one removes it' }
}

async function isInUse(folder: string): Promise<boolean> {
  const owner = ownerOf(folder)
  if (owner === undefined) return false
  try {
    const lock = await FolderLock.probe(folder)
    lock[Symbol.dispose]()
    return false
  } catch (error) {
    if (error instanceof FolderInUse) return true
    throw error
  }
}

async function* examineDatabase(folder: string, inUse: boolean): AsyncGenerator<Finding> {
  const unborn: Finding = { kind: 'ok', object: 'server.db', what: 'empty: its first start did not come to an end' }
  // a journal of this kind only exists until the new database has its write-ahead log; reading would have to undo it
  if (existsSync(`${databaseFile(folder)}-journal`)) {
    yield unborn
    return
  }
  const database = namingDamage('server.db', () => openForReading(databaseFile(folder)))
  try {
    if (namingDamage('server.db', () => holdsNothing(database))) {
      yield unborn
      return
    }
    const { integrity, state } = namingDamage('server.db', () => {
      const version = checkedVersion(database)
      database.exec('BEGIN') // one moment for everything that follows
      const rows = database.prepare('PRAGMA integrity_check').all() as { integrity_check: string }[]
      if (version < schemaVersion) verifySchema(database, version)
      return {
        integrity: rows.map((row) => row.integrity_check),
        state: version < schemaVersion ? undefined : readState(database),
      }
    })
    for (const line of integrity) if (line !== 'ok') yield { kind: 'damage', object: 'server.db', what: line }
    if (state === undefined) {
      const what = 'its pages are whole; an older program wrote it: examine it again when the server has started once'
      yield { kind: 'warning', object: 'server.db', what }
      return
    }
    yield* examineMessages(database, folder, state)
    yield* examineArchive(database)
    if (!inUse) yield* examineOrphans(folder, state)
    const { directory, mailboxes } = state
    yield { kind: 'ok', object: 'server.db', what: `${directory.count} clients, ${mailboxes.count} messages waiting` }
  } finally {
    database.close()
  }
}

/** Neither tables nor our mark: a server that was killed while it created the database. The next start begins again. */
function holdsNothing(database: DatabaseSync): boolean {
  const marked = database.prepare('SELECT 1 FROM pragma_application_id WHERE application_id <> 0').get()
  return marked === undefined && database.prepare('SELECT 1 FROM sqlite_schema').get() === undefined
}

const positionsPerRead = 1000

async function* examineMessages(
  database: DatabaseSync,
  folder: string,
  { mailboxes }: LoadedState,
): AsyncGenerator<Finding> {
  const read = messageReader(database)
  for (const mailbox of mailboxes.occupied()) {
    const positions: number[] = []
    mailboxes.walk(mailbox, (position) => positions.push(position) > 0)
    for (let at = 0; at < positions.length; at += positionsPerRead) {
      const { damaged, contents } = read(Float64Array.from(positions.slice(at, at + positionsPerRead)))
      for (const position of damaged)
        yield { kind: 'damage', object: `message ${position}`, what: 'missing, or not what was stored' }
      for (const content of contents.values()) {
        const what = await contentDamage(folder, content)
        if (what !== undefined) yield { kind: 'damage', object: `content/${content.id}`, what }
      }
    }
  }
}

async function contentDamage(
  folder: string,
  content: { id: number; bytes: number; digest: number },
): Promise<string | undefined> {
  const file = await open(path.join(contentFolder(folder), String(content.id))).catch(() => undefined)
  if (file === undefined) return 'missing, or was delivered a moment ago'
  try {
    const { size } = await file.stat()
    if (size !== content.bytes) return `${size} bytes instead of ${content.bytes}`
    const digest = contentDigestLike(content.digest)
    for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 2 ** 20 })) digest.add(chunk)
    return digest.value() === content.digest ? undefined : 'its bytes do not match their digest'
  } finally {
    await file.close()
  }
}

async function* examineOrphans(folder: string, { contents }: LoadedState): AsyncGenerator<Finding> {
  for (const id of await contentIds(contentFolder(folder)))
    if (!contents.has(id))
      yield { kind: 'warning', object: `content/${id}`, what: 'belongs to no message; the next start removes it' }
}

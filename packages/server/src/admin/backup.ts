import { createHash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { objectKinds } from '../archive.ts'
import { FolderInUse, FolderLock } from '../lock.ts'
import { contentIds, ignoreMissing } from '../storage/contents.ts'
import { contentFolder, databaseFile, syncFolder } from '../storage/folder.ts'
import { skipPositions } from '../storage/load.ts'
import { checkedVersion, migrate, openForReading, openForWriting } from '../storage/schema.ts'
import { numberKey } from '../v3/numbers.ts'
import { lastResortOrder } from '../v3/packages.ts'

/** Why a backup cannot be made or used; the message says what to do. */
export class BackupError extends Error {
  override readonly name = 'BackupError'
}

export interface BackupManifest {
  readonly v: 1
  readonly createdAt: string
  readonly schema: number
  readonly files: readonly { name: string; bytes: number; sha256: string }[]
}

const manifestName = 'manifest.json'
/** Where a backup gathers its files, inside the data folder so that contents can be linked instead of copied. */
export const stagingName = 'backup-staging'
/** What is being copied; nothing is left of it after a backup that came to its end. */
export const stagedFiles = path.join(stagingName, 'files')
const snapshotsMax = 5
/** The key of the object of kind `server` that names the incarnation. */
const incarnationKey = 'incarnation'
/** Positions that a restored server leaves out, so that none is given twice that was given after the backup. */
const positionsSkipped = 1_000_000

/**
 * Copies a data folder into `target`, which must not exist or be empty, while the server runs. The copy is one moment
 * of the database with every content that it names. The manifest is written last: without it there is no backup.
 */
export async function backup(folder: string, target: string, now: Date): Promise<BackupManifest> {
  await mustBeEmpty(target)
  const staging = path.join(folder, stagingName)
  await mkdir(staging, { mode: 0o700 }).catch(ignoreExisting)
  using _lock = await lockStaging(staging, now)
  const files = path.join(folder, stagedFiles) // the folder around them stays: somebody may be waiting at its lock
  try {
    await clear(files) // of a backup that was killed
    return await copyTo(target, folder, files, now)
  } finally {
    await rm(files, { recursive: true, force: true })
  }
}

async function lockStaging(staging: string, now: Date): Promise<FolderLock> {
  try {
    return await FolderLock.take(staging, now)
  } catch (error) {
    if (!(error instanceof FolderInUse)) throw error
    throw new BackupError(`another backup is under way: process ${error.owner?.pid ?? '?'}`, { cause: error })
  }
}

async function clear(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { mode: 0o700 })
}

async function copyTo(target: string, folder: string, staging: string, now: Date): Promise<BackupManifest> {
  const snapshot = await takeSnapshot(folder, staging)
  await mkdir(path.join(target, 'content'), { recursive: true, mode: 0o700 })
  const names = ['server.db', ...snapshot.contents.map((id) => `content/${id}`)]
  const files: BackupManifest['files'][number][] = []
  for (const name of names)
    files.push(await copyDurably(path.join(staging, path.basename(name)), path.join(target, name), name))
  const manifest: BackupManifest = { v: 1, createdAt: now.toISOString(), schema: snapshot.schema, files }
  const temporary = path.join(target, `${manifestName}.new`)
  await writeFile(temporary, `${JSON.stringify(manifest, null, 1)}\n`, { mode: 0o600, flush: true })
  await rename(temporary, path.join(target, manifestName))
  for (const each of [path.join(target, 'content'), target, path.dirname(path.resolve(target))]) await syncFolder(each)
  return manifest
}

/** Puts a backup into `folder`, which must not exist or be empty. Nothing is put there if the backup is not whole. */
export async function restore(source: string, folder: string, now: Date): Promise<BackupManifest> {
  const manifest = await readManifest(source)
  for (const { name, bytes, sha256 } of manifest.files) {
    const found = await digestOf(path.join(source, name)).catch(() => undefined)
    if (found?.bytes !== bytes || found.sha256 !== sha256)
      throw new BackupError(`${path.join(source, name)} is missing or not what was backed up: use another backup`)
  }
  const names = new Set(manifest.files.map(({ name }) => name))
  if (!describe(path.join(source, 'server.db')).contents.every((id) => names.has(`content/${id}`)))
    throw new BackupError(`${source} lacks contents that its messages have: use another backup`)
  await mustBeEmpty(folder)
  await mkdir(contentFolder(folder), { recursive: true, mode: 0o700 })
  using _lock = await FolderLock.take(folder, now)
  const database = restoringFile(folder)
  for (const { name } of manifest.files)
    await copyDurably(path.join(source, name), name === 'server.db' ? database : path.join(folder, name), name)
  becomeAnother(database)
  await syncFolder(contentFolder(folder))
  await rename(database, databaseFile(folder))
  await syncFolder(folder)
  return manifest
}

/** The database while it is being restored; it gets its name when everything is in place. */
export const restoringFile = (folder: string): string => `${databaseFile(folder)}.restoring`

/** The database as of one moment, and links to all contents that it names. */
async function takeSnapshot(folder: string, staging: string): Promise<{ contents: number[]; schema: number }> {
  const snapshot = path.join(staging, 'server.db')
  for (let attempt = 0; attempt < snapshotsMax; attempt++) {
    await rm(snapshot, { force: true })
    await linkContents(folder, staging)
    const source = openForReading(databaseFile(folder))
    try {
      checkedVersion(source)
      source.prepare('VACUUM INTO ?').run(snapshot)
    } finally {
      source.close()
    }
    await linkContents(folder, staging)
    const { contents, schema } = describe(snapshot)
    const linked = new Set(await readdir(staging))
    // a content that came and was delivered in between belongs to a message that no longer waits: look again
    if (contents.every((id) => linked.has(String(id)))) return { contents, schema }
  }
  throw new BackupError('messages come and go faster than they can be copied: try again at a quieter time')
}

async function linkContents(folder: string, staging: string): Promise<void> {
  for (const id of await contentIds(contentFolder(folder)))
    await link(path.join(contentFolder(folder), String(id)), path.join(staging, String(id))).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') ignoreMissing(error)
      },
    )
}

function describe(snapshot: string): { contents: number[]; schema: number } {
  const database = openForReading(snapshot)
  try {
    const rows = database.prepare('SELECT id FROM contents ORDER BY id').all() as { id: number }[]
    return { contents: rows.map(({ id }) => id), schema: checkedVersion(database) }
  } finally {
    database.close()
  }
}

async function copyDurably(
  from: string,
  to: string,
  name: string,
): Promise<{ name: string; bytes: number; sha256: string }> {
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  const file = await open(to, 'r+')
  try {
    await file.chmod(0o600)
    await file.sync()
  } finally {
    await file.close()
  }
  return { name, ...(await digestOf(to)) }
}

async function digestOf(file: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) {
    hash.update(chunk)
    bytes += chunk.length
  }
  return { bytes, sha256: hash.digest('hex') }
}

async function readManifest(source: string): Promise<BackupManifest> {
  const file = path.join(source, manifestName)
  const content = await readFile(file, 'utf8').catch(() => undefined)
  if (content === undefined) throw new BackupError(`${source} is not a whole backup: there is no ${manifestName} in it`)
  let manifest: unknown
  try {
    manifest = JSON.parse(content)
  } catch {
    throw new BackupError(`${file} is not what a backup writes: use another backup`)
  }
  if (!isManifest(manifest)) throw new BackupError(`${file} is not what a backup of this version writes`)
  return manifest
}

function isManifest(value: unknown): value is BackupManifest {
  if (typeof value !== 'object' || value === null) return false
  const { v, files } = value as Partial<BackupManifest>
  return v === 1 && Array.isArray(files) && files.every(isEntry) && files.some(({ name }) => name === 'server.db')
}

/** The name is checked as well: a manifest must not lead out of the folders. */
function isEntry(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return /^(server\.db|content\/[1-9]\d{0,15})$/.test(String((value as { name?: unknown }).name))
}

/**
 * What was restored is another server than the one that was backed up, to devices that are further: it gives out other
 * positions, has a new incarnation at its next start (protocol 3 §3.1), and none of the key packages that are used once,
 * because it cannot tell which were used since (§5.4).
 */
function becomeAnother(database: string): void {
  migrate(database)
  const connection = openForWriting(database)
  try {
    skipPositions(connection, positionsSkipped)
    const forget = connection.prepare('DELETE FROM objects WHERE kind = ? AND key = ?')
    forget.run(objectKinds.server, Buffer.from(incarnationKey))
    const withdraw = connection.prepare('DELETE FROM objects WHERE kind = ? AND substr(key, 9) <> ?')
    withdraw.run(objectKinds.keyPackage, numberKey(lastResortOrder))
  } finally {
    connection.close()
  }
}

async function mustBeEmpty(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    ignoreMissing(error)
    return []
  })
  if (names.length > 0) throw new BackupError(`${folder} is not empty: name a folder that is new or empty`)
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

import { existsSync, statSync } from 'node:fs'
import { chmod, lstat, mkdir, open, readdir } from 'node:fs/promises'
import path from 'node:path'
import { contentIds } from './contents.ts'
import { DamagedStorage } from './damage.ts'

export const databaseFile = (folder: string): string => path.join(folder, 'server.db')
export const contentFolder = (folder: string): string => path.join(folder, 'content')

/** What of ours may lie in a data folder. */
const files = ['server.db', 'server.db-wal', 'server.db-shm', 'server.db-journal', 'lock', 'owner']
const folders = ['content', 'content/incoming']

/**
 * Makes sure that the folder is there, that nothing of ours in it leads elsewhere, and that nobody else can look into
 * it. A folder that others may use, with things of theirs in it, is left as it is and refused.
 */
export async function prepareFolder(folder: string): Promise<void> {
  const created = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (created !== undefined) await syncEntry(folder, created)
  const { mode } = await mustBe('folder', folder)
  if (isOpen(mode)) {
    const names = await readdir(folder)
    if (names.length > 0 && !names.includes('server.db'))
      throw new Error(
        `${folder} holds other things and others may look into it: name a new folder, or take their rights away`,
      )
    await chmod(folder, 0o700)
  }
  for (const name of files) await closeToOthers('file', path.join(folder, name), 0o600)
  for (const name of folders) await closeToOthers('folder', path.join(folder, name), 0o700)
}

/**
 * Creates what is missing; to be called by whoever holds the lock. Throws `DamagedStorage` if there is no database, but
 * what belongs to it.
 */
export async function prepareFiles(folder: string): Promise<void> {
  const file = databaseFile(folder)
  const bytes = (name: string): number => (existsSync(name) ? statSync(name).size : 0)
  if (bytes(file) === 0 && (bytes(`${file}-wal`) > 0 || (await contentIds(contentFolder(folder))).length > 0))
    throw new DamagedStorage('server.db', 'it is missing, but what belongs to it is still here')
  await createFile(file)
  for (const name of folders) await mkdir(path.join(folder, name), { recursive: true, mode: 0o700 })
  await syncFolder(folder)
}

/**
 * Creates a file that only we may read, unless it is there. One that is there is not opened: closing it would take
 * this process's locks off it.
 */
export async function createFile(file: string): Promise<void> {
  try {
    await (await open(file, 'wx', 0o600)).close()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    await mustBe('file', file)
  }
}

export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes the names of `folder` and of everything above it, up to the first that was created, durable. */
async function syncEntry(folder: string, created: string): Promise<void> {
  for (let at = path.resolve(folder); at.length >= path.resolve(created).length; at = path.dirname(at))
    await syncFolder(path.dirname(at))
}

const isOpen = (mode: number): boolean => (mode & 0o077) !== 0

async function closeToOthers(kind: 'file' | 'folder', object: string, mode: number): Promise<void> {
  try {
    const status = await mustBe(kind, object)
    if (isOpen(status.mode)) await chmod(object, mode)
  } catch (error) {
    // it is not there, or not any more: another program may be beginning here
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

async function mustBe(kind: 'file' | 'folder', object: string): Promise<{ mode: number }> {
  const status = await lstat(object)
  if (kind === 'file' ? status.isFile() : status.isDirectory()) return status
  throw new Error(`${object} is not a ${kind}: nothing is stored through a link`)
}

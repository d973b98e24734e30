import { readFileSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isSqliteError, namingDamage, primaryCode, sqliteCodes } from './storage/damage.ts'
import { createFile } from './storage/folder.ts'

/** Another process uses the data folder. `owner` is what that process wrote about itself. */
export class FolderInUse extends Error {
  override readonly name = 'FolderInUse'
  readonly owner: Owner | undefined

  constructor(folder: string, owner: Owner | undefined) {
    const who = owner === undefined ? 'another process' : `process ${owner.pid} on ${owner.host}, since ${owner.since}`
    super(`${folder} is in use by ${who}`)
    this.owner = owner
  }
}

export interface Owner {
  readonly pid: number
  readonly host: string
  readonly since: string
}

/**
 * One process per data folder. The lock is SQLite's, on a file of its own: the system frees it when the process ends,
 * however it ends, so a lock is never stale. Who holds it stands beside it, for the message to the second one.
 */
export class FolderLock implements Disposable {
  readonly #database: DatabaseSync

  private constructor(database: DatabaseSync) {
    this.#database = database
  }

  static async take(folder: string, since: Date): Promise<FolderLock> {
    const lock = await FolderLock.probe(folder)
    try {
      const owner: Owner = { pid: process.pid, host: hostname(), since: since.toISOString() }
      const temporary = path.join(folder, 'owner.new')
      await rm(temporary, { force: true })
      await writeFile(temporary, `${JSON.stringify(owner)}\n`, { mode: 0o600, flag: 'wx' })
      await rename(temporary, path.join(folder, 'owner'))
      return lock
    } catch (error) {
      lock[Symbol.dispose]()
      throw error
    }
  }

  /** The lock alone, for somebody who only wants to know whether the folder is free. */
  static async probe(folder: string): Promise<FolderLock> {
    const file = path.join(folder, 'lock')
    await createFile(file)
    const database = new DatabaseSync(file)
    try {
      namingDamage('lock', () => database.exec('PRAGMA journal_mode=MEMORY; PRAGMA busy_timeout=0; BEGIN EXCLUSIVE'))
      return new FolderLock(database)
    } catch (error) {
      database.close()
      if (isSqliteError(error) && primaryCode(error) === sqliteCodes.busy)
        throw new FolderInUse(folder, ownerOf(folder))
      throw error
    }
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close()
  }
}

/** Whoever uses the folder, or used it last; undefined if that cannot be read. */
export function ownerOf(folder: string): Owner | undefined {
  try {
    const owner: unknown = JSON.parse(readFileSync(path.join(folder, 'owner'), 'utf8'))
    return isOwner(owner) ? owner : undefined
  } catch {
    return undefined
  }
}

function isOwner(value: unknown): value is Owner {
  if (typeof value !== 'object' || value === null) return false
  const { pid, host, since } = value as Partial<Record<keyof Owner, unknown>>
  return typeof pid === 'number' && typeof host === 'string' && typeof since === 'string'
}

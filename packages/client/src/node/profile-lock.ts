import { readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ClientError } from '../errors.ts'
import { ensurePrivateFile } from './private-files.ts'
import { damagedBy, isSqliteError, sqliteCodes } from './sqlite-errors.ts'

/**
 * One process per profile. The lock is SQLite's, on a file of its own: the system frees it when the process ends, however
 * it ends, so it is never stale. Who holds it stands beside it, for the message to the second one.
 */
export function lockProfile(folder: string): Disposable {
  const file = path.join(folder, 'lock')
  const owner = path.join(folder, 'owner')
  ensurePrivateFile(file)
  ensurePrivateFile(owner)
  const database = new DatabaseSync(file)
  try {
    database.exec('PRAGMA journal_mode=MEMORY; PRAGMA busy_timeout=0; BEGIN EXCLUSIVE')
    writeFileSync(owner, `process ${process.pid} on ${hostname()}\n`, { flag: 'r+' })
    return { [Symbol.dispose]: () => database.close() }
  } catch (error) {
    database.close()
    if (isSqliteError(error, sqliteCodes.busy))
      throw new ClientError('in-use', `${folder} is in use by ${ownerOf(owner)}`, { cause: error })
    throw damagedBy(file, error)
  }
}

function ownerOf(file: string): string {
  const [line = ''] = readFileSync(file, 'utf8').split('\n')
  return /^process \d+ on [\w.-]+$/.test(line) ? line : 'another process'
}

import { ClientError } from '../errors.ts'

/** Primary result codes (sqlite.org/rescode.html). */
export const sqliteCodes = { busy: 5, corrupt: 11, full: 13, format: 24, notDatabase: 26 } as const

export function isSqliteError(error: unknown, ...codes: readonly number[]): error is Error {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return false
  return codes.length === 0 || codes.includes(error.errcode & 0xff)
}

/** What a failure of SQLite means: the file is not what we wrote, or it cannot be written. Anything else is passed on. */
export function damagedBy(file: string, error: unknown): unknown {
  const { corrupt, format, notDatabase } = sqliteCodes
  if (isSqliteError(error, corrupt, format, notDatabase))
    return new ClientError('damaged', `${file} is damaged: ${error.message}`, { cause: error })
  if (isSqliteError(error))
    return new ClientError('cannot-store', `${file} cannot be used: ${error.message}`, { cause: error })
  return error
}

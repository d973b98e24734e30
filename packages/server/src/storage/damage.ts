/**
 * What is stored is not what was stored. The program stops or refuses the one object; it never deletes or rewrites
 * anything to go on. `object` names what is damaged, relative to the data folder.
 */
export class DamagedStorage extends Error {
  override readonly name = 'DamagedStorage'
  readonly object: string
  readonly what: string

  constructor(object: string, what: string, options?: ErrorOptions) {
    super(`${object} is damaged: ${what}`, options)
    this.object = object
    this.what = what
  }
}

/** The database was written by a newer program. It is whole, and left as it is. */
export class NewerStorage extends Error {
  override readonly name = 'NewerStorage'

  constructor(found: number, known: number) {
    super(`server.db has schema ${found}, this program knows ${known}: it was written by a newer program`)
  }
}

interface SqliteError extends Error {
  readonly errcode: number
}

export function isSqliteError(error: unknown): error is SqliteError {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
}

/** SQLite's primary result codes (sqlite.org/rescode.html). */
export const sqliteCodes = {
  error: 1,
  busy: 5,
  noMemory: 7,
  readOnly: 8,
  io: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  notADatabase: 26,
} as const

export function primaryCode(error: { errcode: number }): number {
  return error.errcode & 0xff
}

/**
 * Whether a statement of ours failed because of what it found in the file: broken pages, a schema that lacks what the
 * statement names, a number that no statement of ours wrote.
 */
export function tellsOfDamage(error: unknown): boolean {
  if (!isSqliteError(error)) return error instanceof Error && 'code' in error && error.code === 'ERR_OUT_OF_RANGE'
  const code = primaryCode(error)
  return code === sqliteCodes.corrupt || code === sqliteCodes.notADatabase || code === sqliteCodes.error
}

/** Runs `work`, and names the object where SQLite finds it damaged. */
export function namingDamage<T>(object: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!tellsOfDamage(error)) throw error
    throw new DamagedStorage(object, (error as Error).message, { cause: error })
  }
}

/** The error that ended a thread, as it was there: on the way between threads errors lose their class. */
export function fromThread(error: Error): Error {
  if (error.name === 'DamagedStorage' && 'object' in error && 'what' in error)
    return new DamagedStorage(String(error.object), String(error.what), { cause: error })
  return error
}

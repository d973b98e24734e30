import { ClientError } from './errors.ts'

/** The tables of a profile. Each has keys of one kind: whole numbers, in whose order it is read, or bytes. */
// biome-ignore format: the columns are the point
export const tables = {
  /** Who we are, and what comes of a registration that was not answered yet. One row each. */
  account:  { keys: 'number' },
  /** Where delivery and sending stand. One row each. */
  progress: { keys: 'number' },
  /** Sends and commits without an answer, by send number. */
  outbox:   { keys: 'number' },
  /** Which account a name stands for, by name. */
  pins:     { keys: 'bytes' },
  /** The device lists that were seen, by account. */
  lists:    { keys: 'bytes' },
  /** What the user has to be told about other accounts, by what it is about. */
  alarms:   { keys: 'bytes' },
  /** What is known of each conversation, by its id. */
  conversations: { keys: 'bytes' },
  /** What opens and seals in it: each conversation in parts, by its id and the part. */
  groups:   { keys: 'bytes' },
  /** The newest send of each device in each conversation. */
  senders:  { keys: 'bytes' },
  /** What was said, by conversation and place. */
  history:  { keys: 'number' },
  /** What this device sends and has no answer for, by send number. */
  drafts:   { keys: 'number' },
  /** What nobody has been shown yet, in the order in which it came. */
  feed:     { keys: 'number' },
  /** What is to be done for others, by what it is about. */
  errands:  { keys: 'bytes' },
  /** How the user regards other accounts. */
  contacts: { keys: 'bytes' },
  /** The private halves of key packages that were published. */
  packages: { keys: 'bytes' },
  /** Whatever stands above all of this. */
  content:  { keys: 'bytes' },
} as const

export type Table = keyof typeof tables

/** Numbers are whole, from 0 to 2^53 − 1. */
export type Key = number | Uint8Array

export interface Row {
  readonly key: Key
  readonly value: Uint8Array
}

/** A row as it is from now on; without a value it is gone. */
export interface Change {
  readonly table: Table
  readonly key: Key
  readonly value: Uint8Array | undefined
}

/**
 * What a device remembers. One writer; CONVERSATIONS E 4.
 *
 * A commit is one atomic step: all its changes or none, and durable once it resolves. The revision grows with each. Whoever
 * reads may see it before it is durable; what is committed later never is without it.
 * Values that are handed in or out are copies: nobody changes what is stored by writing into a buffer.
 */
export interface Store extends AsyncDisposable {
  /** Of the newest commit; 0 before the first. */
  readonly revision: number
  get(table: Table, key: Key): Promise<Uint8Array | undefined>
  /**
   * At most `limit` rows behind the key `after`, which need not be there any more. Numbers come in their order; keys of
   * bytes in an order that is the store's own, but always the same.
   */
  read(table: Table, range: { after?: Key | undefined; limit: number }): Promise<readonly Row[]>
  /** The new revision. Fails with `revision-conflict`, changing nothing, when the store is not at `expectedRevision`. */
  commit(changes: readonly Change[], expectedRevision: number): Promise<number>
}

/** A store as far as its rows go. */
export type RowStore = Pick<Store, 'revision' | 'get' | 'read' | 'commit'>

/** How often `decide` may be overtaken before that is a mistake of ours. */
const attemptsMax = 100

/**
 * Commits what `decide` makes of what it reads, and decides again when somebody else was faster. `decide` has no effect
 * of its own; where it returns no changes, nothing is written.
 */
export async function change<T>(
  store: Pick<Store, 'revision' | 'commit'>,
  decide: () => Promise<{ changes: readonly Change[]; result: T }>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const { revision } = store
    const { changes, result } = await decide()
    if (changes.length === 0) return result
    try {
      await store.commit(changes, revision)
      return result
    } catch (error) {
      if (!isConflict(error) || attempt === attemptsMax) throw error
    }
  }
}

export function revisionConflict(expected: number, actual: number): ClientError {
  return new ClientError('revision-conflict', `the store is at revision ${actual}, not at ${expected}`)
}

export function isConflict(error: unknown): boolean {
  return error instanceof ClientError && error.reason === 'revision-conflict'
}

/** What tells a row from all others. */
export function rowName(table: Table, key: Key): string {
  return typeof key === 'number' ? `${table}/${key}` : `${table}/${String.fromCharCode(...key)}`
}

/** A key as text that sorts the way keys do. */
export function keyText(key: Key): string {
  return String.fromCharCode(...keyBytes(key))
}

/** A key as bytes that sort the way keys do. */
export function keyBytes(key: Key): Uint8Array {
  if (typeof key !== 'number') return key
  if (!Number.isSafeInteger(key) || key < 0) throw new Error(`${key} is no key`)
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(key))
  return bytes
}

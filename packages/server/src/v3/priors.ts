import { type Accepted, RefusedError, type SendId } from '@messageu/protocol/v3'
import { type Archive, archiveLimits, type Sends, type SentRecord } from '../archive.ts'

/** What names a send or commit, and tells it from another one of the same name. Protocol 3 §6.5. */
export interface Named {
  readonly device: number
  readonly number: number
  readonly id: SendId
  readonly digest: Uint8Array
}

/**
 * Whether a send is new, as far as can be said without waiting: `maybe` it was accepted, or is under way. Throws
 * `id-reused` for the id of another one.
 */
export function isNew(sends: Sends, { number, id }: Pick<Named, 'number' | 'id'>): 'new' | 'maybe' {
  if (sends.has(number)) return 'maybe'
  if (sends.withId(id) !== undefined) throw idReused()
  return number > sends.highest - archiveLimits.recentSends ? 'new' : 'maybe'
}

/**
 * Requests of one number take turns once it is not certain that it is new: a number far below the newest is not in
 * memory, and two that look for it at the same time would both find nothing.
 */
export function turnOf({ device, number }: Pick<Named, 'device' | 'number'>): string {
  return `send/${device}/${number}`
}

/** How a send was answered that was accepted before; undefined for one that was not. Waits for one that is under way. */
export async function answerBefore(
  archive: Pick<Archive, 'findSent'>,
  { device, number, id, digest }: Named,
): Promise<Accepted | undefined> {
  const record = await archive.findSent(device, number)
  if (record === undefined) return undefined
  if (!isSame(record, id, digest)) throw idReused()
  const { sequence, position, at } = record
  return { sequence, position, at }
}

function isSame(record: SentRecord, id: SendId, digest: Uint8Array): boolean {
  return Buffer.compare(record.id, id) === 0 && Buffer.compare(record.digest, digest) === 0
}

function idReused(): RefusedError {
  return new RefusedError('id-reused', 'the id or the number was used for something else')
}

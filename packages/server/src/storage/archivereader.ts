import type { DatabaseSync } from 'node:sqlite'
import { archiveLimits } from '../archive.ts'
import { AcceptedSends } from './accepted.ts'
import { packSent } from './deeds.ts'
import type { AnswerTo, Question } from './questions.ts'
import { mustMatch } from './rows.ts'
import { UnfoldedDeeds } from './unfolded.ts'

interface ObjectRow {
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly digest: number
}

/** Finds what version 3 has stored, besides messages. To be asked inside a read transaction, after `refresh`. */
export class ArchiveReader {
  readonly #unfolded: UnfoldedDeeds
  readonly #accepted: AcceptedSends
  readonly #object
  readonly #objects
  readonly #objectsBelow
  readonly #acknowledged
  readonly #newest
  readonly #messageFrom

  constructor(database: DatabaseSync) {
    this.#unfolded = new UnfoldedDeeds(database)
    this.#accepted = new AcceptedSends(database)
    this.#object = database.prepare('SELECT key, value, digest FROM objects WHERE kind = ? AND key = ?')
    const range = 'SELECT key, value, digest FROM objects WHERE kind = ? AND key >= ? AND key IS NOT ?'
    this.#objects = database.prepare(`${range} ORDER BY key LIMIT ?`)
    this.#objectsBelow = database.prepare(`${range} AND key < ? ORDER BY key LIMIT ?`)
    this.#acknowledged = database.prepare('SELECT through, digest FROM acknowledged WHERE device = ?')
    this.#newest = database.prepare('SELECT ifnull(max(position), 0) AS newest FROM messages')
    this.#messageFrom = database.prepare(
      'SELECT position, at FROM messages WHERE position >= ? ORDER BY position LIMIT 1',
    )
  }

  object({ object, key }: Question<'object'>): AnswerTo<'object'> {
    const row = this.#object.get(object, key) as ObjectRow | undefined
    return row && checked(object, row).value
  }

  objects({ object, prefix, after, limit }: Question<'objects'>): AnswerTo<'objects'> {
    const from = after !== undefined && Buffer.compare(after, prefix) > 0 ? after : prefix
    const behind = after ?? null
    const end = endOf(prefix)
    const rows =
      end === undefined
        ? this.#objects.all(object, from, behind, limit)
        : this.#objectsBelow.all(object, from, behind, end, limit)
    return (rows as unknown as ObjectRow[]).map((row) => checked(object, row)) // as the query names its columns
  }

  sends({ device }: Question<'sends'>): AnswerTo<'sends'> {
    this.#unfolded.refresh()
    const unfolded = this.#unfolded.sentBy(device, 0)
    const highest = unfolded.reduce((most, { number }) => Math.max(most, number), this.#accepted.highest(device))
    const above = highest - archiveLimits.recentSends
    const records = [...this.#accepted.recent(device, highest), ...unfolded].filter(({ number }) => number > above)
    return packSent(records)
  }

  sent({ device, number }: Question<'sent'>): AnswerTo<'sent'> {
    this.#unfolded.refresh()
    return this.#unfolded.find(device, number) ?? this.#accepted.find(device, number)
  }

  acknowledged({ device }: Question<'acknowledged'>): AnswerTo<'acknowledged'> {
    this.#unfolded.refresh()
    const row = this.#acknowledged.get(device) as { through: number; digest: number } | undefined
    if (row !== undefined) mustMatch(`what device ${device} acknowledged`, row.digest, device, row.through)
    return Math.max(row?.through ?? 0, this.#unfolded.acknowledgedBy(device))
  }

  /** By bisection: times grow with positions as long as nobody sets the clock back. */
  positionBefore({ at }: Question<'positionBefore'>): AnswerTo<'positionBefore'> {
    let found = 0
    let [low, high] = [1, (this.#newest.get() as { newest: number }).newest]
    while (low <= high) {
      const middle = Math.floor((low + high) / 2)
      const message = this.#messageFrom.get(middle) as { position: number; at: number }
      if (message.at < at) {
        found = message.position
        low = message.position + 1
      } else high = middle - 1
    }
    return found
  }
}

function checked(object: number, { key, value, digest }: ObjectRow): { key: Uint8Array; value: Uint8Array } {
  mustMatch(`object ${object}/${Buffer.from(key).toString('hex')}`, digest, object, key, value)
  return { key, value }
}

/** The first key behind all that start with `prefix`; undefined if there is none. */
function endOf(prefix: Uint8Array): Uint8Array | undefined {
  const last = prefix.findLastIndex((byte) => byte < 0xff)
  if (last === -1) return undefined
  const end = prefix.slice(0, last + 1)
  end[last] = (end[last] as number) + 1
  return end
}

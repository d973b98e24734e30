import type { Count } from '@messageu/e2ee/conversation'
import type { Incarnation } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { messagingLimits as limits } from './limits.ts'
import type { ConversationRow } from './rows.ts'

// A server counts the sequences of a conversation anew whenever it was restored; the history of a device goes on. So each
// incarnation of the server has its part of the history, with room between them for what only other devices have received.

/** Where in the history sequences are counted from, and how far it goes. */
export type Counted = Pick<ConversationRow, 'base' | 'incarnation' | 'earlier' | 'newest'>

/** In an incarnation of which this device has received nothing yet: behind everything that is there. */
export function countedAnew<R extends Counted>(row: R, incarnation: Incarnation): R {
  const { base, newest } = row
  const ended = { incarnation: row.incarnation, base, length: Math.max(0, newest - base) }
  return {
    ...row,
    incarnation,
    base: Math.max(base, newest) + limits.countRoom,
    earlier: [...row.earlier, ended].slice(-limits.earlierCountsMax),
  }
}

/** With something at this place. */
export function reaching<R extends Counted>(row: R, place: number): R {
  const at = row.earlier.findLastIndex(({ base }) => base < place)
  const isEarlier = place <= row.base
  const earlier = row.earlier.map((each, i) =>
    isEarlier && i === at ? { ...each, length: Math.max(each.length, place - each.base) } : each,
  )
  return { ...row, earlier, newest: Math.max(row.newest, place) }
}

/** The incarnation to which a place of the history belongs, and those after it: whoever is given a copy finds a place by that. */
export function countsFrom({ base, incarnation, earlier }: Counted, place: number): readonly Count[] {
  const from = earlier.filter((_, i) => place <= (earlier[i + 1]?.base ?? base))
  const rooms = from.map((each) => ({ incarnation: each.incarnation, room: each.length + limits.countSlack }))
  return [...rooms, { incarnation, room: 0 }]
}

/** With a part for the first of these, if there is none: in front of the first of the others of which there is one. */
export function withCount<R extends Counted>(row: R, counts: readonly Count[]): R {
  const [first] = counts
  const known = counts.findIndex(({ incarnation }) => baseOf(row, incarnation) !== undefined)
  const next = counts[known] && baseOf(row, counts[known].incarnation)
  if (first === undefined || next === undefined || known === 0) return row
  const base = next - counts.slice(0, known).reduce((sum, { room }) => sum + room, 0)
  if (base <= 0) return row
  const earlier = [...row.earlier, { incarnation: first.incarnation, base, length: 0 }]
  return { ...row, earlier: earlier.sort((one, other) => one.base - other.base).slice(-limits.earlierCountsMax) }
}

/** Where a sequence of that incarnation has its place in the history, if there is room for it. */
export function placeOf(row: Counted, incarnation: Incarnation, sequence: number): number | undefined {
  const base = baseOf(row, incarnation)
  if (base === undefined) return undefined
  const bases = [...row.earlier.map((each) => each.base), row.base]
  const end = bases.find((each) => each > base) ?? limits.historyMax - 1
  return base + sequence <= end ? base + sequence : undefined
}

function baseOf(row: Counted, incarnation: Incarnation): number | undefined {
  if (sameBytes(row.incarnation, incarnation)) return row.base
  return row.earlier.find((each) => sameBytes(each.incarnation, incarnation))?.base
}

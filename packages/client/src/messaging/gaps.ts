import { messagingLimits as limits } from './limits.ts'
import type { ConversationRow, Gap, Range } from './rows.ts'

// Sequences that are missing, as ranges that do not overlap.

export function isInside(gaps: readonly Gap[], sequence: number): boolean {
  return gaps.some(({ from, through }) => from <= sequence && sequence <= through)
}

/** The parts of these that lie within a range. */
export function inside(gaps: readonly Gap[], range: Range): readonly Gap[] {
  return gaps.flatMap(({ from, through, since }) =>
    nonEmpty({ since, from: Math.max(from, range.from), through: Math.min(through, range.through) }),
  )
}

/** The parts of these that lie outside of a range. */
export function outside(gaps: readonly Gap[], range: Range): readonly Gap[] {
  return gaps.flatMap(({ from, through, since }) => [
    ...nonEmpty({ since, from, through: Math.min(through, range.from - 1) }),
    ...nonEmpty({ since, from: Math.max(from, range.through + 1), through }),
  ])
}

/** The sequences that are left of these once one of them is known. */
export function without(gaps: readonly Gap[], sequence: number): readonly Gap[] {
  return outside(gaps, { from: sequence, through: sequence })
}

function nonEmpty(gap: Gap): readonly Gap[] {
  return gap.from <= gap.through ? [gap] : []
}

/** The row with one gap more, as far as its places are not known otherwise: one's own messages have places too. */
export function missing(row: ConversationRow, { from, through, since }: Gap): ConversationRow {
  const { gaps, transcript } = row
  const own = transcript.ahead.map(({ sequence }) => sequence)
  const unknown = nonEmpty({ from: Math.max(from, transcript.seen.sequence + 1), through, since })
  const found = own.reduce(without, unknown)
  return found.length === 0 ? row : { ...row, gaps: [...gaps, ...found].slice(-limits.gapsMax) }
}

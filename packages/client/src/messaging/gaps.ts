import type { Range } from './rows.ts'

/** The sequences that are left of these once one of them is known. */
export function without(gaps: readonly Range[], sequence: number): readonly Range[] {
  return gaps.flatMap(({ from, through }) => {
    if (sequence < from || sequence > through) return [{ from, through }]
    return [
      { from, through: sequence - 1 },
      { from: sequence + 1, through },
    ].filter((part) => part.from <= part.through)
  })
}

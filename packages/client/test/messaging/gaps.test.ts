import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { inside, isInside, outside, without } from '../../src/messaging/gaps.ts'
import type { Gap } from '../../src/messaging/rows.ts'

const max = 60
const set = fc.uniqueArray(fc.integer({ min: 1, max }))
const range = fc
  .tuple(fc.integer({ min: 1, max }), fc.integer({ min: 1, max }))
  .map(([one, other]) => ({ from: Math.min(one, other), through: Math.max(one, other) }))

/** The ranges of these sequences, and the sequences of ranges. */
function gapsOf(sequences: readonly number[]): readonly Gap[] {
  const gaps: { from: number; through: number; since: number }[] = []
  for (const sequence of [...sequences].sort((one, other) => one - other)) {
    const last = gaps.at(-1)
    if (last?.through === sequence - 1) last.through = sequence
    else gaps.push({ from: sequence, through: sequence, since: 7 })
  }
  return gaps
}

function sequencesOf(gaps: readonly Gap[]): readonly number[] {
  return gaps.flatMap(({ from, through }) => Array.from({ length: through - from + 1 }, (_, i) => from + i))
}

describe('sequences that are missing', () => {
  test('are inside of their ranges, and no others', () => {
    fc.assert(
      fc.property(set, fc.integer({ min: 1, max }), (missing, sequence) => {
        assert.equal(isInside(gapsOf(missing), sequence), missing.includes(sequence))
      }),
    )
  })

  test('are parted by a range into what lies inside and what lies outside of it', () => {
    fc.assert(
      fc.property(set, range, (missing, { from, through }) => {
        const gaps = gapsOf(missing)
        const isIn = (sequence: number): boolean => from <= sequence && sequence <= through
        const all = sequencesOf(gaps)
        assert.deepEqual(sequencesOf(inside(gaps, { from, through })), all.filter(isIn))
        assert.deepEqual(
          sequencesOf(outside(gaps, { from, through })),
          all.filter((each) => !isIn(each)),
        )
      }),
    )
  })

  test('are one less once one of them is known, and remember since when they are missing', () => {
    fc.assert(
      fc.property(set, fc.integer({ min: 1, max }), (missing, sequence) => {
        const left = without(gapsOf(missing), sequence)
        assert.deepEqual(
          sequencesOf(left),
          sequencesOf(gapsOf(missing)).filter((each) => each !== sequence),
        )
        assert.ok(left.every(({ since }) => since === 7))
      }),
    )
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode } from '@messageu/protocol'
import { Incarnation } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { type Counted, countedAnew, countsFrom, placeOf, reaching, withCount } from '../../src/messaging/counts.ts'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'

/** The nth incarnation of the server. */
const nth = (n: number): Incarnation => decode(Incarnation, new Uint8Array(16).fill(n))

const last = 5
/** What a device has received in each incarnation: in those that it has lived through. */
const life = fc
  .array(fc.option(fc.nat(1_000), { nil: undefined }), { minLength: last, maxLength: last })
  .chain((before) => fc.nat(1_000).map((received) => [...before, received]))

/** How a device that has lived through this counts in the end. */
function lived(received: readonly (number | undefined)[]): Counted {
  let row: Counted | undefined
  for (const [n, count] of received.entries()) {
    if (count === undefined) continue
    row = row === undefined ? begun(n) : countedAnew(row, nth(n))
    if (count > 0) row = { ...row, newest: row.base + count }
  }
  return row ?? begun(last)
}

function begun(n: number): Counted {
  return { base: limits.firstBase, incarnation: nth(n), earlier: [], newest: 0 }
}

/** Everything that a device was given, by another one that has it: in which incarnation and sequence, and where it stands. */
function given(to: Counted, from: Counted, received: readonly (number | undefined)[]) {
  let row = to
  const places: { readonly n: number; readonly sequence: number; readonly place: number | undefined }[] = []
  for (const [n, count = 0] of received.entries()) {
    const there = placeOf(from, nth(n), 1)
    if (there === undefined) continue
    const counts = countsFrom(from, there)
    assert.deepEqual(counts[0]?.incarnation, nth(n))
    row = withCount(row, counts)
    for (let sequence = 1; sequence <= count; sequence++) {
      const place = placeOf(row, nth(n), sequence)
      places.push({ n, sequence, place })
      if (place !== undefined) row = reaching(row, place)
    }
  }
  return { row, places }
}

function grows(places: readonly (number | undefined)[]): boolean {
  return places.every((place, i) => place !== undefined && place > (places[i - 1] ?? 0))
}

test('U05: what a device gives another one has its places in the same order there, whatever either has lived through', () => {
  fc.assert(
    fc.property(life, life, (first, second) => {
      const { row, places } = given(lived(second), lived(first), first)
      assert(grows(places.map(({ place }) => place)))
      const isOrdered = first.every((count, n) => count !== undefined || second[n] === undefined)
      if (!isOrdered) return // nobody knows in which order the server has lived
      const whole = first.map((count, n) => Math.max(count ?? 0, second[n] ?? 0))
      const third = given(begun(last), row, whole)
      assert(grows(third.places.map(({ place }) => place)))
    }),
  )
})

test('U05: a part of the history has room for what is received in the next one as well, and takes no place of it', () => {
  const row = countedAnew(lived([3]), nth(1))
  assert.equal(placeOf(row, nth(0), 3), limits.firstBase + 3)
  assert.equal(placeOf(row, nth(0), 1_000), limits.firstBase + 1_000)
  assert.equal(placeOf(row, nth(0), 2 * limits.countRoom), undefined)
  assert.equal(placeOf(row, nth(1), limits.historyMax), undefined)
  assert.equal(placeOf(row, nth(2), 1), undefined)
  assert.deepEqual(reaching(row, row.base + 5), { ...row, newest: row.base + 5 })
})

test('U05: however often the server is restored, a device keeps its bounds', () => {
  let row = lived([3])
  for (let n = 1; n <= 100; n++) row = countedAnew(row, nth(n))
  assert.equal(row.earlier.length, limits.earlierCountsMax)
  assert.equal(countsFrom(row, 1).length, limits.earlierCountsMax + 1)
  assert.equal(new Set([...row.earlier.map(({ base }) => base), row.base]).size, limits.earlierCountsMax + 1)
})

test('a part for which no other one is known, or that would begin in front of everything, is not begun', () => {
  const row = lived([3])
  const [one, other] = [nth(7), nth(8)]
  assert.equal(withCount(row, []), row)
  assert.equal(withCount(row, [{ incarnation: one, room: 5 }]), row)
  const tooLong = { incarnation: one, room: limits.firstBase }
  assert.equal(withCount(row, [tooLong, { incarnation: nth(0), room: 0 }]), row)
  const counts = [
    { incarnation: one, room: 5 },
    { incarnation: other, room: 6 },
    { incarnation: nth(0), room: 0 },
  ]
  assert.equal(placeOf(withCount(row, counts), one, 5), limits.firstBase - 6)
})

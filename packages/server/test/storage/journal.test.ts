import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { isForgotten, joined, keepingBytes, keepingOf } from '../../src/storage/cursor.ts'
import { ColdPositions, JournalEntry, replayCold, replayEntry } from '../../src/storage/journal.ts'

const recipient = fc.integer({ min: 1, max: 2 ** 32 - 1 })
const position = fc.integer({ min: 1, max: 2 ** 48 })
const bytes = fc.integer({ min: 25, max: 2 ** 30 + 25 })
const added = fc.record({ kind: fc.constant('added' as const), recipient, step: fc.nat({ max: 1000 }), bytes })
const discarded = fc.record({
  kind: fc.constant('discarded' as const),
  recipient,
  position,
  keeping: fc.array(position),
})

suite('journal', () => {
  test('a row tells everything that was put into it, in its order', () => {
    const entry = new JournalEntry()
    fc.assert(
      fc.property(position, fc.array(fc.oneof(added, discarded)), (start, changes) => {
        entry.begin(start)
        const expected: unknown[] = []
        let at = start
        for (const change of changes) {
          if (change.kind === 'added') {
            at += change.step
            entry.added(change.recipient, at, change.bytes)
            expected.push([change.recipient, at, change.bytes])
          } else {
            entry.discarded(change.recipient, change.position, change.keeping)
            expected.push([change.recipient, change.position, change.keeping])
          }
        }
        const told: unknown[] = []
        const highest = replayEntry(entry.bytes(), {
          added: (...change) => told.push(change),
          discarded: (...change) => told.push(change),
        })
        assert.deepEqual(told, expected)
        assert.equal(highest, at)
      }),
    )
  })

  test('cold positions come back', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 2 ** 30 }), bytes)), (steps) => {
        const cold = new ColdPositions()
        let at = 0
        const expected: number[][] = []
        for (const [step, size] of steps) {
          at += step
          expected.push([at, size])
          cold.add(at, size)
        }
        const told: number[][] = []
        replayCold(cold.bytes(), (...each) => told.push(each))
        assert.deepEqual(told, expected)
        assert.equal(cold.upto, at)
      }),
    )
  })
})

suite('cursor', () => {
  const small = fc.integer({ min: 1, max: 12 })
  const cursor = fc
    .record({ through: small, keeping: fc.uniqueArray(small) })
    .map(({ through, keeping }) => ({ through, keeping: keeping.filter((each) => each < through) }))

  test('two discards amount to the same in either order: what either forgot is forgotten', () => {
    fc.assert(
      fc.property(cursor, cursor, (one, other) => {
        for (let each = 1; each <= 13; each++) {
          const forgotten = isForgotten(one, each) || isForgotten(other, each)
          assert.equal(isForgotten(joined(one, other), each), forgotten)
          assert.equal(isForgotten(joined(other, one), each), forgotten)
        }
      }),
    )
  })

  test('the first discard of a mailbox stands alone, and without one nothing is forgotten', () => {
    assert.deepEqual(joined(undefined, { through: 5, keeping: [3] }), { through: 5, keeping: [3] })
    assert.equal(isForgotten(undefined, 1), false)
  })

  test('positions to keep come back from their column', () => {
    fc.assert(fc.property(fc.array(position), (keeping) => assert.deepEqual(keepingOf(keepingBytes(keeping)), keeping)))
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { Hash } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import type { Mark, Transcript } from '../../src/messaging/rows.ts'
import { beginEpoch, compare, emptyTranscript, take } from '../../src/messaging/transcript.ts'

const hash = (byte: number): Hash => decode(Hash, new Uint8Array(Hash.max).fill(byte))
const start = { sequence: 4, hash: hash(200) }
const marks = (count: number): Mark[] =>
  Array.from({ length: count }, (_, i) => ({ sequence: start.sequence + 1 + i, hash: hash(i) }))
const taking = (from: Transcript, all: readonly Mark[]): Transcript => all.reduce(take, from)

describe('what has been seen of an epoch', () => {
  test('comes to the same in whatever order it came', () => {
    const inOrder = taking(beginEpoch(emptyTranscript, start), marks(20))
    fc.assert(
      fc.property(fc.shuffledSubarray(marks(20), { minLength: 20 }), (shuffled) => {
        const seen = taking(beginEpoch(emptyTranscript, start), [...shuffled, ...shuffled])
        assert.deepEqual(seen.seen, inOrder.seen)
        assert.deepEqual(seen.ahead, [])
        assert.equal(compare(seen, inOrder.seen), 'same')
      }),
    )
  })

  test('goes as far as nothing is missing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 19 }), (missing) => {
        const all = marks(20)
        const seen = taking(
          beginEpoch(emptyTranscript, start),
          all.filter((_, i) => i !== missing),
        )
        assert.equal(seen.seen.sequence, start.sequence + missing)
        const mark = all[missing]
        assert.ok(mark)
        assert.deepEqual(take(seen, mark).seen, taking(beginEpoch(emptyTranscript, start), all).seen)
      }),
    )
  })

  test('differs wherever one of the messages is another one, and everywhere behind it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 19 }), (other) => {
        const all = marks(20)
        const changed = all.map((mark, i) => (i === other ? { ...mark, hash: hash(199) } : mark))
        const ours = taking(beginEpoch(emptyTranscript, start), all)
        let theirs = beginEpoch(emptyTranscript, start)
        for (const [i, mark] of changed.entries()) {
          theirs = take(theirs, mark)
          assert.equal(compare(ours, theirs.seen), i < other ? 'same' : 'differs')
        }
      }),
    )
  })

  test('of one’s own that is answered before the commit in front of it has come is not forgotten', () => {
    const [first, second] = marks(2)
    assert.ok(first && second)
    const early = beginEpoch(take(take(emptyTranscript, first), second), start)
    assert.deepEqual(early.seen, taking(beginEpoch(emptyTranscript, start), [first, second]).seen)
  })

  test('says nothing of places that nobody has kept', () => {
    assert.equal(compare(emptyTranscript, start), 'unknown')
    const long = taking(beginEpoch(emptyTranscript, start), marks(limits.recentMarks + 5))
    assert.equal(compare(long, start), 'unknown')
    assert.ok(long.recent.length <= limits.recentMarks)
  })

  test('is bounded, however many come in front of one that never does', () => {
    const ahead = marks(limits.aheadMax + 50).slice(1)
    const seen = taking(beginEpoch(emptyTranscript, start), ahead)
    assert.ok(seen.ahead.length <= limits.aheadMax)
    assert.equal(seen.seen.sequence, start.sequence)
  })
})

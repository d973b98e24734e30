import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { decode, encode } from '../../src/codec.ts'
import { malformed, ProtocolError, reasons } from '../../src/errors.ts'
import {
  type Current,
  errorOf,
  Hash,
  limits,
  Refusal,
  RefusedError,
  reasonCodes,
  refusalOf,
  type V3Reason,
} from '../../src/v3/index.ts'

const nothing: Current = { kind: 'nothing', body: undefined }
const epoch: Current = { kind: 'epoch', body: { generation: 2, epoch: 7, sequence: 40 } }
const list: Current = { kind: 'list', body: { version: 3, hash: decode(Hash, new Uint8Array(32).fill(5)) } }

/** What the peer is told of an error. */
function told(error: unknown): Refusal {
  return decode(Refusal, encode(Refusal, refusalOf(error)))
}

describe('a refusal', () => {
  test('tells reason, explanation, when to come back and what has changed', () => {
    for (const current of [nothing, epoch, list]) {
      const error = new RefusedError('stale-epoch', 'another commit was first', { retryAfterMs: 5, current })
      assert.deepEqual(told(error), {
        reason: 'stale-epoch',
        explanation: 'another commit was first',
        retryAfterMs: 5,
        current,
      })
    }
  })

  test('is the error that it was made from, on the other side', () => {
    for (const reason of Object.keys(reasonCodes) as V3Reason[]) {
      const error = errorOf(told(new RefusedError(reason, `because of ${reason}`, { retryAfterMs: 9, current: list })))
      assert.ok(error instanceof RefusedError)
      assert.deepEqual(
        [error.reason, error.message, error.retryAfterMs, error.current, error.retry],
        [reason, `because of ${reason}`, 9, list, reasons[reason].retry],
      )
    }
  })

  test('of a decoder is told as what it is', () => {
    assert.deepEqual(told(malformed('too short')), {
      reason: 'malformed',
      explanation: 'too short',
      retryAfterMs: 0,
      current: nothing,
    })
  })

  test('I8: of an error that is ours tells nothing of it', () => {
    const errors = [
      new Error('secret'),
      new TypeError('secret'),
      'secret',
      undefined,
      null,
      { reason: 'malformed' },
      new ProtocolError('unknown-client', 'secret'), // a reason of version 2
    ]
    for (const error of errors) {
      const refusal = told(error)
      assert.deepEqual([refusal.reason, refusal.retryAfterMs, refusal.current], ['internal', 0, nothing])
      assert.doesNotMatch(refusal.explanation, /secret/)
    }
  })

  test('can always be sent: an explanation that is too long is cut between two characters', () => {
    const units = fc.oneof(fc.constantFrom('a', 'é', '€', '😀', '\ud83d', '\ude00', '\0'), fc.string({ minLength: 1 }))
    const texts = fc.array(units, { maxLength: 700 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(texts, (text) => {
        const { explanation } = told(new RefusedError('bad-name', text))
        const wellFormed = text.toWellFormed()
        assert.ok(Buffer.byteLength(explanation) <= limits.explanationBytesMax)
        assert.ok(wellFormed.startsWith(explanation))
        if (Buffer.byteLength(wellFormed) <= limits.explanationBytesMax) assert.equal(explanation, wellFormed)
        else assert.ok(Buffer.byteLength(explanation) > limits.explanationBytesMax - 4)
      }),
    )
    for (const character of ['a', 'é', '€', '😀'])
      for (const before of ['', 'x', 'xx', 'xxx']) {
        const { explanation } = told(new RefusedError('bad-name', before + character.repeat(600)))
        assert.match(explanation, new RegExp(`^${before}(${character})+$`, 'u'))
        assert.ok(Buffer.byteLength(explanation) > limits.explanationBytesMax - 4)
      }
  })

  test('W05: an explanation of the longest length is sent again as it came', () => {
    const wire = encode(Refusal, refusalOf(new RefusedError('limited', 'x'.repeat(limits.explanationBytesMax))))
    assert.equal(decode(Refusal, wire).explanation.length, limits.explanationBytesMax)
    assert.deepEqual(encode(Refusal, decode(Refusal, wire)), wire)
  })

  test('can always be sent: a time to wait is whole and bounded', () => {
    const waits = [
      [0.2, 1],
      [1500.5, 1501],
      [2 ** 33, 2 ** 32 - 1],
      [Number.POSITIVE_INFINITY, 2 ** 32 - 1],
    ] as const
    for (const [retryAfterMs, expected] of waits)
      assert.equal(told(new RefusedError('limited', 'wait', { retryAfterMs })).retryAfterMs, expected)
  })
})

test('every reason has one number', () => {
  const numbers = Object.values(reasonCodes)
  assert.equal(new Set(numbers).size, numbers.length)
})

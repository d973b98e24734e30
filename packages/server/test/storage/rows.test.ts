import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { type Field, mustMatch, rowDigest } from '../../src/storage/rows.ts'

const field = fc.oneof(fc.maxSafeNat(), fc.uint8Array({ maxLength: 20 }))

suite('rows', () => {
  test('a digest holds for these fields, in this order, and for no bit more or less', () => {
    fc.assert(
      fc.property(fc.array(field, { minLength: 1, maxLength: 5 }), fc.nat(), fc.nat(7), (fields, which, bit) => {
        const digest = rowDigest(...fields)
        mustMatch('the row', digest, ...fields)
        const at = which % fields.length
        const changed = fields.map((each, i) => (i === at ? flipped(each, bit) : each))
        assert.throws(() => mustMatch('the row', digest, ...changed), { object: 'server.db', message: /the row/ })
        assert.throws(() => mustMatch('the row', digest, ...fields.slice(1)))
      }),
    )
  })

  test('a digest is the CRC-32 of all fields behind each other, each behind its kind and its number or length', () => {
    const large = fc.oneof(field, fc.uint8Array({ minLength: 3000, maxLength: 6000, size: 'max' }))
    fc.assert(
      fc.property(fc.array(large, { maxLength: 8 }), (fields) => {
        const parts = fields.flatMap((each) => {
          const head = Buffer.alloc(9, typeof each === 'number' ? 1 : 2)
          head.writeDoubleBE(typeof each === 'number' ? each : each.length, 1)
          return typeof each === 'number' ? [head] : [head, each]
        })
        assert.equal(rowDigest(...fields), crc32(Buffer.concat(parts)))
      }),
    )
  })

  test('fields do not run into each other', () => {
    assert.notEqual(rowDigest(Uint8Array.of(1, 2), Uint8Array.of(3)), rowDigest(Uint8Array.of(1), Uint8Array.of(2, 3)))
    assert.notEqual(rowDigest(Uint8Array.of(), Uint8Array.of()), rowDigest(Uint8Array.of()))
    assert.notEqual(rowDigest(0), rowDigest(Uint8Array.of()))
  })

  test('what a damaged row may hold instead is not taken for the same', () => {
    for (const other of ['5', null, 5n]) assert.notEqual(rowDigest(other as unknown as Field), rowDigest(5))
    assert.notEqual(rowDigest(null as unknown as Field), rowDigest(0))
  })
})

function flipped(field: Field, bit: number): Field {
  if (typeof field === 'number') return field >= 2 ** bit ? field - 2 ** bit : field + 2 ** bit
  return field.length === 0 ? Uint8Array.of(0) : field.map((byte, i) => (i === 0 ? byte ^ (1 << bit) : byte))
}

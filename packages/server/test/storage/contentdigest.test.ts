import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { contentDigestLike, newContentDigest } from '../../src/storage/contentdigest.ts'

function digestOf(...pieces: Uint8Array[]): number {
  const digest = newContentDigest()
  for (const piece of pieces) digest.add(piece)
  return digest.value()
}

suite('the digest of a content', () => {
  test('is the same however the bytes came in pieces', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(300), (bytes, one, other) => {
        const [first, second] = [Math.min(one, other), Math.max(one, other)]
        const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]
        assert.equal(digestOf(...pieces), digestOf(bytes))
      }),
    )
  })

  test('K06 tells every flipped bit, and bytes that are missing', () => {
    const bytes = randomBytes(200)
    const seen = new Set([digestOf(bytes), digestOf(bytes.subarray(1)), digestOf(bytes.subarray(0, -1))])
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
      seen.add(digestOf(flipped))
    }
    assert.equal(seen.size, 3 + bytes.length * 8)
  })

  test('is a number that a row and a record keep exactly, and no CRC-32', () => {
    for (let i = 0; i < 200; i++) {
      const value = digestOf(randomBytes(100))
      assert(Number.isSafeInteger(value) && value >= 2 ** 32)
    }
  })

  test('U01 is taken again as it was taken when the content came', () => {
    const bytes = randomBytes(1000)
    for (const stored of [digestOf(bytes), crc32(bytes)]) {
      const again = contentDigestLike(stored)
      again.add(bytes)
      assert.equal(again.value(), stored)
    }
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { countCodePoints, utf8Decode, utf8Encode } from '../src/utf8.ts'

const platform = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** What the platform's decoder makes of `bytes`; undefined where it refuses them. */
function platformDecode(bytes: Uint8Array): string | undefined {
  try {
    return platform.decode(bytes)
  } catch {
    return undefined
  }
}

function assertSameAsPlatform(bytes: Uint8Array): void {
  const expected = platformDecode(bytes)
  const hex = Buffer.from(bytes).toString('hex')
  if (expected === undefined) assert.throws(() => utf8Decode(bytes), { reason: 'malformed' }, hex)
  else {
    assert.equal(utf8Decode(bytes), expected, hex)
    assert.deepEqual(Buffer.from(utf8Encode(expected)), Buffer.from(bytes), hex)
  }
}

test('every sequence of one or two bytes is judged like the platform judges it', () => {
  for (let first = 0; first < 256; first++) {
    assertSameAsPlatform(Uint8Array.of(first))
    for (let second = 0; second < 256; second++) assertSameAsPlatform(Uint8Array.of(first, second))
  }
})

test('every sequence of three or four bytes at the edges of the rules is judged like the platform judges it', () => {
  const firsts = [0x7f, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff]
  const others = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0]
  for (const a of firsts)
    for (const b of others)
      for (const c of others) {
        assertSameAsPlatform(Uint8Array.of(a, b, c))
        for (const d of others) assertSameAsPlatform(Uint8Array.of(a, b, c, d))
      }
})

test('arbitrary bytes are judged like the platform judges them', () => {
  const sequence = fc.oneof(
    fc.uint8Array({ maxLength: 4 }),
    fc.string({ unit: 'binary', maxLength: 4 }).map((text) => new TextEncoder().encode(text)),
  )
  const bytes = fc.array(sequence, { maxLength: 8 }).map((parts) => Uint8Array.from(Buffer.concat(parts)))
  fc.assert(fc.property(bytes, assertSameAsPlatform), { numRuns: 5000 })
})

test('every code point goes to bytes and back like on the platform', () => {
  for (let start = 0; start < 0x110000; start += 0x400) {
    if (start >= 0xd800 && start < 0xe000) continue
    const points = Array.from({ length: 0x400 }, (_, i) => start + i)
    const text = String.fromCodePoint(...points)
    const bytes = utf8Encode(text)
    assert.equal(Buffer.compare(bytes, new TextEncoder().encode(text)), 0)
    assert.equal(countCodePoints(bytes), points.length)
    assert.equal(utf8Decode(bytes), text)
  }
})

test('W05: text with half of a surrogate pair is refused', () => {
  for (const text of ['\ud800', 'a\udfff', '\udc00\ud800', '😀'.slice(0, 1), '\ud83d x'])
    assert.throws(() => utf8Encode(text), { reason: 'malformed' })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { AccountId, ConversationId, DeviceId, Incarnation, PublicKey, SendId, Signature } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { type Content, decodeContent, encodeContent } from '../../src/conversation/content.ts'
import { limits } from '../../src/conversation/limits.ts'
import { pad, paddedSize, unpad } from '../../src/conversation/padding.ts'

describe('content', () => {
  const sized = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
  const conversation = sized(32).map((bytes) => decode(ConversationId, bytes))
  const account = sized(32).map((bytes) => decode(AccountId, bytes))
  const signature = sized(64).map((bytes) => decode(Signature, bytes))
  const authored = fc.record({ message: fc.uint8Array(), signature })
  const content: fc.Arbitrary<Content> = fc.oneof(
    fc.record({ kind: fc.constant('text' as const), body: fc.record({ text: fc.string({ unit: 'grapheme' }) }) }),
    fc.record({ kind: fc.constant('title' as const), body: fc.record({ title: fc.string({ unit: 'grapheme' }) }) }),
    fc.record({
      kind: fc.constant('leave' as const),
      body: fc.record({ epoch: fc.nat(), departure: signature }),
    }),
    fc.record({
      kind: fc.constant('receipt' as const),
      body: fc.record({ messages: fc.array(sized(16).map((bytes) => decode(SendId, bytes))) }),
    }),
    fc.record({
      kind: fc.constant('ask' as const),
      body: fc.record({ conversation, messages: fc.array(sized(16).map((bytes) => decode(SendId, bytes))) }),
    }),
    fc.record({
      kind: fc.constant('copies' as const),
      body: fc.record({
        group: fc.record({ conversation, generation: fc.nat() }),
        counts: fc.array(
          fc.record({ incarnation: sized(16).map((bytes) => decode(Incarnation, bytes)), room: fc.nat() }),
        ),
        copies: fc.array(fc.record({ sequence: fc.nat(), at: fc.nat(), account, authored })),
      }),
    }),
    fc.record({
      kind: fc.constant('contact' as const),
      body: fc.record({
        account,
        standing: fc.constantFrom('accepted', 'refused', 'blocked', 'stranger'),
        verified: fc.option(
          sized(32).map((bytes) => decode(PublicKey, bytes)),
          { nil: undefined },
        ),
      }),
    }),
    fc.record({ kind: fc.constant('manager' as const), body: fc.record({ seed: sized(32) }) }),
    fc.record({
      kind: fc.constant('settled' as const),
      body: fc.record({ device: sized(16).map((bytes) => decode(DeviceId, bytes)) }),
    }),
    fc.record({
      kind: fc.constant('unknown' as const),
      body: fc.record({ code: fc.integer({ min: 10, max: 65_535 }), bytes: fc.uint8Array() }),
    }),
  )

  test('of every kind is the same after it was written and read', () => {
    fc.assert(
      fc.property(content, (value) => {
        const read = decodeContent(encodeContent(value))
        assert.equal(read.kind, value.kind)
        assert.deepEqual(encodeContent(read), encodeContent(value))
      }),
    )
  })

  test('of a known kind with another body than it has is refused', () => {
    const text = encodeContent({ kind: 'text', body: { text: 'hello' } })
    const longer = encodeContent({ kind: 'unknown', body: { code: 1, bytes: Uint8Array.of(...text.slice(6), 0) } })
    assert.throws(() => decodeContent(longer), { reason: 'malformed' })
  })
})

describe('padding', () => {
  test('gives back what was padded, at a size of its class', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20_000 }), (length) => {
        const content = new Uint8Array(length).fill(7)
        const padded = pad(content)
        assert.deepEqual(unpad(padded), content)
        assert.ok(padded.length === 2 ** Math.round(Math.log2(padded.length)) || padded.length > 4096)
        assert.ok(padded.length <= 4096 || padded.length < (length + 4) * 1.12)
      }),
    )
  })

  test('has 140 sizes in all, 13 of them up to 4 KiB', () => {
    const sizes = new Set(Array.from({ length: limits.paddedBytesMax }, (_, size) => paddedSize(size + 1)))
    assert.equal([...sizes].filter((size) => size <= 4096).length, 13)
    assert.equal(sizes.size, 140)
    assert.equal(Math.max(...sizes), limits.paddedBytesMax)
  })

  test('of another size, or with something in it, or too large, is refused', () => {
    const padded = pad(new Uint8Array(100))
    assert.throws(() => unpad(padded.with(127, 1)), { reason: 'malformed' })
    assert.throws(() => unpad(Uint8Array.of(...padded, ...padded)), { reason: 'malformed' })
    assert.throws(() => unpad(padded.slice(0, 104)), { reason: 'malformed' })
    assert.throws(() => unpad(padded.with(1, 1)), { reason: 'malformed' })
    assert.throws(() => unpad(new Uint8Array(3)), { reason: 'malformed' })
    assert.throws(() => pad(new Uint8Array(limits.paddedBytesMax - 3)), { reason: 'malformed' })
    assert.equal(pad(new Uint8Array(limits.paddedBytesMax - 4)).length, limits.paddedBytesMax)
  })
})

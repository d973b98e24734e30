import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { rest, u8 } from '../../src/codec.ts'
import { encodeFrame, type Frame, frameHeadBytes, limits, readFrames, writeFrame } from '../../src/v3/index.ts'
import { joined } from '../fuzz.ts'

const malformed = { name: 'ProtocolError', reason: 'malformed' }
const byte = fc.integer({ min: 0, max: 255 })
const frames: fc.Arbitrary<Frame> = fc.record(
  { code: byte, request: fc.integer({ min: 0, max: 2 ** 32 - 1 }), body: fc.uint8Array({ maxLength: 50 }) },
  { noNullPrototype: true },
)
const messages = fc.array(frames, { minLength: 1, maxLength: 20 })

/** A head that announces `length` bytes, and so many bytes behind it. */
function announcing(length: number, behind = 0): Uint8Array {
  const wire = new Uint8Array(frameHeadBytes + behind)
  new DataView(wire.buffer).setUint32(0, length, true)
  return wire
}

describe('frames', () => {
  test('that are written into one message are read from it, in their order', () => {
    const property = fc.property(messages, (all) => assert.deepEqual(readFrames(joined(...all.map(writeFrame))), all))
    fc.assert(property)
  })

  test('are the same when their body is encoded where it stands', () => {
    const property = fc.property(frames, ({ code, request, body }) =>
      assert.deepEqual(
        encodeFrame({ code, request }, rest(u8, { max: 50 }), [...body]),
        writeFrame({ code, request, body }),
      ),
    )
    fc.assert(property)
  })

  test('are read wherever the message lies in memory', () => {
    fc.assert(
      fc.property(messages, fc.nat({ max: 9 }), (all, before) => {
        const wire = joined(...all.map(writeFrame))
        const around = joined(new Uint8Array(before).fill(0xee), wire, new Uint8Array(5).fill(0xee))
        const read = readFrames(Buffer.from(around.buffer, before, wire.length))
        assert.deepEqual(
          read.map((frame) => ({ ...frame, body: Uint8Array.from(frame.body) })),
          all,
        )
      }),
    )
  })

  test('W02: that end too early are refused with all of their message', () => {
    fc.assert(
      fc.property(messages, fc.nat(), (all, at) => {
        const wires = all.map(writeFrame)
        const wire = joined(...wires)
        const length = at % wire.length
        const isBoundary = wires.some((_, i) => i > 0 && joined(...wires.slice(0, i)).length === length)
        if (isBoundary) assert.ok(readFrames(wire.subarray(0, length)).length < all.length)
        else assert.throws(() => readFrames(wire.subarray(0, length)), malformed)
      }),
    )
  })

  test('W05: have nothing between or behind them', () => {
    for (const behind of [1, frameHeadBytes - 1])
      assert.throws(() => readFrames(joined(announcing(frameHeadBytes), new Uint8Array(behind))), malformed)
  })

  test('W05: a message has at least one', () => {
    assert.throws(() => readFrames(new Uint8Array(0)), malformed)
  })

  test('W03: of an impossible length are refused', () => {
    const lengths = [0, 1, frameHeadBytes - 1, frameHeadBytes + 1, limits.frameBytesMax, limits.frameBytesMax + 1]
    for (const length of [...lengths, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]) {
      assert.throws(() => readFrames(announcing(length)), malformed, `${length}`)
      assert.throws(() => readFrames(joined(announcing(frameHeadBytes), announcing(length))), malformed, `${length}`)
    }
    assert.deepEqual(readFrames(announcing(frameHeadBytes)), [{ code: 0, request: 0, body: new Uint8Array(0) }])
  })

  test('W03: do not lie inside each other', () => {
    const inner = announcing(frameHeadBytes)
    for (const length of [4, 5])
      assert.throws(() => readFrames(joined(announcing(length).subarray(0, length), inner)), malformed)
  })

  test('W03: may be as large as the limit says, and no larger', () => {
    const room = limits.frameBytesMax - frameHeadBytes
    const largest = writeFrame({ code: 1, request: 2, body: new Uint8Array(room).fill(3) })
    assert.equal(largest.length, limits.frameBytesMax)
    assert.equal(readFrames(largest)[0]?.body.length, room)
    assert.throws(() => writeFrame({ code: 1, request: 2, body: new Uint8Array(room + 1) }), malformed)
    assert.throws(() => readFrames(announcing(limits.frameBytesMax + 1, room + 1)), malformed)
  })

  test('W03: of one message are no larger together than one may be', () => {
    const half = writeFrame({ code: 1, request: 2, body: new Uint8Array(limits.frameBytesMax / 2 - frameHeadBytes) })
    assert.equal(readFrames(joined(half, half)).length, 2)
    const more = writeFrame({ code: 1, request: 2, body: new Uint8Array(0) })
    assert.throws(() => readFrames(joined(half, half, more)), malformed)
  })

  test('W04: are so many in one message, and no more', () => {
    const smallest = announcing(frameHeadBytes)
    const most = joined(...Array.from({ length: limits.framesPerMessageMax }, () => smallest))
    assert.equal(readFrames(most).length, limits.framesPerMessageMax)
    assert.throws(() => readFrames(joined(most, smallest)), malformed)
    assert.ok(limits.framesPerMessageMax > limits.creditMessagesMax + limits.outstandingMax)
  })

  test('are little-endian, with their own head counted', () => {
    const wire = writeFrame({ code: 0xc1, request: 0xf1020304, body: Uint8Array.of(0xaa, 0xbb) })
    assert.equal(Buffer.from(wire).toString('hex'), `0b000000${'c1'}040302f1${'aabb'}`)
  })
})

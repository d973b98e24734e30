import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type Codec, decode, encode } from '../../src/codec.ts'
import { ProtocolError } from '../../src/errors.ts'
import {
  Commit,
  ConversationId,
  DeliveredCommit,
  DeliveredWelcome,
  Delivery,
  DeviceId,
  events,
  frameHeadBytes,
  Hash,
  limits,
  operations,
  readFrames,
  SendId,
  writeFrame,
} from '../../src/v3/index.ts'
import { decoders, isRefusal } from './decoders.ts'

for (const { name, codec, values, examples } of decoders)
  describe(`${name}:`, () => {
    test('a value comes back from its bytes', () => {
      fc.assert(fc.property(values, (value) => assert.deepEqual(decode(codec, encode(codec, value)), value)))
    })

    test('every case of it comes back from its bytes', () => {
      for (const value of examples) assert.deepEqual(decode(codec, encode(codec, value)), value)
    })

    test('W02: bytes cut short at any offset are refused', () => {
      const property = fc.property(values, (value) => {
        const whole = encode(codec, value)
        for (let length = 0; length < whole.length; length++)
          assert.throws(() => decode(codec, whole.subarray(0, length)), isRefusal)
      })
      fc.assert(property, { numRuns: 20 })
    })

    test('W05: trailing bytes are refused', () => {
      const more = fc.uint8Array({ minLength: 1, maxLength: 3 })
      const property = fc.property(values, more, (value, behind) => {
        const longer = Uint8Array.from([...encode(codec, value), ...behind])
        assert.throws(() => decode(codec, longer), isRefusal)
      })
      fc.assert(property)
    })

    test('W05 W10: any bytes are refused, or the encoding of what they decode to', () => {
      const noise = fc.uint8Array({ maxLength: Math.min(codec.max, 300) })
      fc.assert(fc.property(noise, (wire) => assertOneForm(codec, wire)))
    })

    test('a decoded value shares no memory with the bytes it came from', () => {
      const property = fc.property(values, (value) => {
        const wire = Buffer.from(encode(codec, value))
        const decoded = decode(codec, wire)
        wire.fill(0x55)
        assert.deepEqual(decoded, value)
      })
      fc.assert(property, { numRuns: 30 })
    })
  })

function assertOneForm(codec: Codec<unknown>, wire: Uint8Array): void {
  let value: unknown
  try {
    value = decode(codec, wire)
  } catch (error) {
    assert.ok(error instanceof ProtocolError && isRefusal(error), `${error}`)
    return
  }
  assert.deepEqual(Buffer.from(encode(codec, value)), Buffer.from(wire))
}

describe('the largest', () => {
  test('request, answer or event fits a frame, but for a commit', () => {
    const sizes = [
      ...Object.entries(operations).flatMap(([name, { request, response }]) => [
        [`${name}, asked`, request.max] as const,
        [`${name}, answered`, response.max] as const,
      ]),
      ...Object.entries(events).map(([name, { body }]) => [name, body.max] as const),
    ]
    const tooLarge = sizes.filter(([, max]) => frameHeadBytes + max > limits.frameBytesMax)
    assert.deepEqual(
      tooLarge.map(([name]) => name),
      ['commit, asked'],
    )
  })

  test('commit that fits a frame is written and read, and one byte more is not', () => {
    const around = encode(Commit, commitOf(0, 0)).length
    const room = limits.frameBytesMax - frameHeadBytes - around
    const fitting = commitOf(limits.handshakeBytesMax, room - limits.handshakeBytesMax)
    const frame = writeFrame({ code: operations.commit.code, request: 1, body: encode(Commit, fitting) })
    assert.equal(frame.length, limits.frameBytesMax)
    const [read] = readFrames(frame)
    assert.deepEqual(decode(Commit, read?.body ?? new Uint8Array()), fitting)
    const larger = encode(Commit, commitOf(limits.handshakeBytesMax, room - limits.handshakeBytesMax + 1))
    assert.throws(() => writeFrame({ code: operations.commit.code, request: 1, body: larger }), { reason: 'malformed' })
  })

  test('commit and Welcome that can be sent can be delivered', () => {
    const { id, conversation, roster, commit } = commitOf(limits.handshakeBytesMax, 0)
    const [sender] = roster
    assert.ok(sender !== undefined)
    const treeHash = decode(Hash, new Uint8Array(32))
    const delivered = [
      ['commit', encode(DeliveredCommit, { epoch: 1, sender, id, commit, roster })],
      ['welcome', encode(DeliveredWelcome, { epoch: 1, sender, treeHash, welcome: commit })],
    ] as const
    for (const [kind, sealed] of delivered) {
      const delivery = { position: 1, conversation, generation: 1, sequence: 1, at: 1, kind, sealed }
      const frame = writeFrame({ code: events.deliver.code, request: 0, body: encode(Delivery, delivery) })
      assert.deepEqual(decode(Delivery, frame.subarray(frameHeadBytes)), delivery)
    }
  })
})

/** A commit to as many devices as there may be. */
function commitOf(commitBytes: number, treeBytes: number): Commit {
  const roster = Array.from({ length: limits.devicesPerConversationMax }, (_, i) =>
    decode(
      DeviceId,
      Uint8Array.from({ length: 16 }, (_, at) => (i >> (8 * (at % 2))) & 255),
    ),
  )
  return {
    conversation: decode(ConversationId, new Uint8Array(32).fill(1)),
    generation: 1,
    id: decode(SendId, new Uint8Array(16).fill(2)),
    number: 1,
    epoch: 1,
    commit: new Uint8Array(commitBytes).fill(3),
    roster,
    welcomes: [{ devices: roster, welcome: new Uint8Array(0) }],
    groupInfo: new Uint8Array(0),
    tree: new Uint8Array(treeBytes).fill(4),
  }
}

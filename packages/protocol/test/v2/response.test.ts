import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { encode } from '../../src/codec.ts'
import { limits } from '../../src/v2/limits.ts'
import { Delivered, messageTypes, ResponseHeader } from '../../src/v2/messages.ts'
import { answerHeader, type OperationName, operations, refusal } from '../../src/v2/operations.ts'
import { readAnswerHeader } from '../../src/v2/response.ts'
import { cutAtRandom, joined, seeded } from '../fuzz.ts'
import { readDelivery, singleBytes } from './reading.ts'
import { arbitrary, clientId } from './samples.ts'

const refused = { name: 'ProtocolError', reason: 'malformed' }
const kinds = Object.keys(operations) as OperationName[]

test('the refusal is the seven bytes of the original system', () => {
  assert.equal(Buffer.from(refusal).toString('hex'), '02282300000000')
})

describe('the header of an answer', () => {
  const sizes = {
    register: [16, 16],
    list: [0, 15_848_587 * 271],
    key: [176, 176],
    send: [20, 20],
    fetch: [0, 2 ** 32 - 1],
  } as const

  test('is read by whoever asked', () => {
    for (const kind of kinds)
      for (const bytes of sizes[kind])
        assert.deepEqual(readAnswerHeader(kind, answerHeader(kind, bytes)), { kind: 'payload', bytes })
  })

  test('says refused to whatever was asked', () => {
    for (const kind of kinds) assert.deepEqual(readAnswerHeader(kind, refusal), { kind: 'refused' })
  })

  test('W03: with a size that the answer cannot have is refused', () => {
    const tried = [0, 1, 15, 16, 17, 19, 20, 21, 175, 176, 177, 2 ** 31, 15_848_587 * 271 + 1, 2 ** 32 - 1]
    for (const kind of kinds)
      for (const size of tried) {
        const [least, most] = sizes[kind]
        const read = () => readAnswerHeader(kind, answerHeader(kind, size))
        if (least <= size && size <= most) assert.deepEqual(read(), { kind: 'payload', bytes: size })
        else assert.throws(read, refused, `${kind} ${size}`)
      }
  })

  test('to another request, of another version, or of another length is refused', () => {
    for (const kind of kinds) {
      for (const other of kinds)
        if (other !== kind) assert.throws(() => readAnswerHeader(kind, answerHeader(other, 16)), refused)
      const wire = answerHeader(kind, sizes[kind][0])
      for (const version of [0, 1, 3, 255])
        assert.throws(() => readAnswerHeader(kind, Uint8Array.from([version, ...wire.slice(1)])), refused)
      for (let length = 0; length < 7; length++)
        assert.throws(() => readAnswerHeader(kind, wire.subarray(0, length)), refused)
      assert.throws(() => readAnswerHeader(kind, Uint8Array.from([...wire, 0])), refused)
      assert.throws(() => readAnswerHeader(kind, Uint8Array.from([...refusal, 0])), refused)
    }
  })

  test('that refuses with a payload is refused', () => {
    const wire = encode(ResponseHeader, { version: 2, code: 9000, payloadBytes: 1 })
    for (const kind of kinds) assert.throws(() => readAnswerHeader(kind, wire), refused)
  })
})

describe('a delivery', () => {
  const message = fc.tuple(arbitrary.delivered, fc.uint8Array({ maxLength: 50 })).map(([head, bytes]) => ({
    head: { ...head, contentBytes: bytes.length },
    content: Buffer.from(bytes),
  }))
  const messages = fc.array(message, { maxLength: 5 })
  const wireOf = (all: readonly { head: Delivered; content: Uint8Array }[]) =>
    joined(...all.flatMap(({ head, content }) => [encode(Delivered, head), content]))

  test('W08: is the same messages however it is cut', () => {
    fc.assert(
      fc.property(messages, fc.nat(), (all, seed) => {
        const wire = wireOf(all)
        for (const pieces of [[wire], singleBytes(wire), cutAtRandom(wire, seeded(seed))])
          assert.deepEqual(readDelivery(pieces), { messages: all })
      }),
    )
  })

  test('W02: that ends inside a message is refused, with the whole messages before it told', () => {
    fc.assert(
      fc.property(messages, (all) => {
        const ends = all.map((_, i) => wireOf(all.slice(0, i + 1)).length)
        const wire = wireOf(all)
        for (let length = 0; length < wire.length; length++) {
          const read = readDelivery([wire.subarray(0, length)])
          const whole = ends.filter((end) => end <= length)
          assert.deepEqual(read.messages, all.slice(0, whole.length))
          const atBoundary = length === 0 || ends.includes(length)
          assert.equal(read.refused?.reason, atBoundary ? undefined : 'malformed')
        }
      }),
      { numRuns: 20 },
    )
  })

  test('W03: with a content larger than any send could carry is refused at its head', () => {
    const head = { sender: clientId(1), message: 1, type: 'file' } as const
    for (const contentBytes of [limits.contentBytesMax + 1, 2 ** 31, 2 ** 32 - 1]) {
      const read = readDelivery([encode(Delivered, { ...head, contentBytes })])
      assert.deepEqual([read.messages, read.refused?.message], [[], `a content of ${contentBytes} bytes`])
    }
  })

  test('with a message type that is not one is refused', () => {
    const wire = encode(Delivered, { sender: clientId(1), message: 1, type: 'text', contentBytes: 0 })
    for (const type of [0, ...Object.values(messageTypes).map((known) => known + 4)]) {
      wire[20] = type
      assert.equal(readDelivery([wire]).refused?.reason, 'malformed')
    }
  })
})

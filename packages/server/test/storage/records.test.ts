import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { encode } from '@messageu/protocol'
import {
  type ClientId,
  Delivered,
  type MessageType,
  messageTypes,
  type Name,
  type PublicKey,
} from '@messageu/protocol/v2'
import fc from 'fast-check'
import {
  clientRecordBytes,
  discardRecordBytes,
  messageIdInHead,
  messageIdOf,
  messageRecordBytes,
  positionAfter,
  readClient,
  readDiscard,
  readMessage,
  recordKinds,
  sealedHeadBytes,
  writeClient,
  writeDiscard,
  writeMessage,
} from '../../src/storage/records.ts'
import { createRing, RingConsumer, RingProducer, type RingRecord } from '../../src/storage/ring.ts'
import type { Client, Message } from '../../src/storage.ts'

function clientWith(number: number, name: Uint8Array): Client {
  return {
    number,
    login: randomBytes(16) as Uint8Array as ClientId,
    id: randomBytes(16) as Uint8Array as ClientId,
    name: name as Name,
    publicKey: randomBytes(160) as Uint8Array as PublicKey,
  }
}

/** One record through a ring of its own. */
function passed(bytes: number, kind: number, write: (ring: RingProducer, place: number) => void) {
  const shared = createRing(2 ** 18)
  const producer = new RingProducer(shared)
  const consumer = new RingConsumer(shared)
  producer.claim(64, 9) // so that offsets matter
  write(producer, producer.claim(bytes, kind) as number)
  producer.publish()
  consumer.wait(0)
  consumer.next(2 ** 18)
  const record = consumer.next(2 ** 18) as RingRecord
  assert.equal(record.kind, kind)
  return { consumer, offset: record.offset }
}

const position = fc.integer({ min: 1, max: 2 ** 48 })
const number = fc.integer({ min: 1, max: 2 ** 32 - 1 })
const type = fc.constantFrom(...(Object.keys(messageTypes) as MessageType[]))
const bytes = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.constant(randomBytes(65_536)))
const stored = fc.record(
  {
    id: fc.integer({ min: 1, max: 2 ** 50 }),
    bytes: fc.integer({ min: 65_537, max: 2 ** 30 }),
    digest: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  },
  { noNullPrototype: true },
)

suite('records', () => {
  test('a message is stored as the protocol delivers it', () => {
    fc.assert(
      fc.property(
        position,
        number,
        number,
        type,
        bytes,
        fc.double({ noNaN: true }),
        (position, from, to, type, content, at) => {
          const sender = clientWith(from, Buffer.from('alice'))
          const recipient = clientWith(to, Buffer.from('bob'))
          const message: Message = { sender, room: { recipient, [Symbol.dispose]() {} }, type, content }
          const { consumer, offset } = passed(messageRecordBytes(message), recordKinds.message, (ring, place) =>
            writeMessage(ring, place, position, at, message),
          )
          const { sealed, ...fields } = readMessage(consumer, offset)
          const head = { sender: sender.id, message: messageIdOf(position), type, contentBytes: content.length }
          const expected = Buffer.concat([encode(Delivered, head), content])
          assert(expected.equals(sealed))
          assert.equal(messageIdInHead(sealed), messageIdOf(position))
          assert.equal(sealedHeadBytes, Delivered.max)
          const digest = crc32(expected)
          assert.deepEqual(fields, { position, at, recipient: to, digest, content: undefined, bytes: expected.length })
        },
      ),
    )
  })

  test('a message with a content in a file is stored as its head', () => {
    fc.assert(
      fc.property(position, number, stored, (position, to, content) => {
        const sender = clientWith(1, Buffer.from('alice'))
        const recipient = clientWith(to, Buffer.from('bob'))
        const message: Message = { sender, room: { recipient, [Symbol.dispose]() {} }, type: 'file', content }
        const { consumer, offset } = passed(messageRecordBytes(message), recordKinds.message, (ring, place) =>
          writeMessage(ring, place, position, 0, message),
        )
        const fields = readMessage(consumer, offset)
        const head = {
          sender: sender.id,
          message: messageIdOf(position),
          type: 'file',
          contentBytes: content.bytes,
        } as const
        assert(encode(Delivered, head).every((byte, i) => byte === fields.sealed[i]))
        assert.equal(fields.sealed.length, sealedHeadBytes)
        assert.deepEqual(fields.content, content)
        assert.equal(fields.bytes, sealedHeadBytes + content.bytes)
      }),
    )
  })

  test('a discard comes out as it went in', () => {
    const positions = fc.array(position, { maxLength: 1000 })
    fc.assert(
      fc.property(number, position, positions, positions, (recipient, through, keeping, contents) => {
        const discard = { recipient, through, keeping, contents }
        const { consumer, offset } = passed(discardRecordBytes(discard), recordKinds.discard, (ring, place) =>
          writeDiscard(ring, place, discard),
        )
        assert.deepEqual(readDiscard(consumer, offset), discard)
      }),
    )
  })

  test('a client comes out as it went in', () => {
    fc.assert(
      fc.property(number, fc.uint8Array({ minLength: 2, maxLength: 254 }), (number, name) => {
        const client = clientWith(number, name)
        const { consumer, offset } = passed(clientRecordBytes(client), recordKinds.client, (ring, place) =>
          writeClient(ring, place, 1.5e12, client),
        )
        const row = readClient(consumer, offset)
        assert.deepEqual(
          { ...row, login: [...row.login], id: [...row.id], publicKey: [...row.publicKey], name: [...row.name] },
          {
            at: 1.5e12,
            number,
            login: [...client.login],
            id: [...client.id],
            publicKey: [...client.publicKey],
            name: [...name],
          },
        )
      }),
    )
  })

  test('G07 message ids are the low 32 bits of a position, and never 0', () => {
    assert.equal(positionAfter(0), 1)
    assert.equal(positionAfter(2 ** 32 - 2), 2 ** 32 - 1)
    assert.equal(positionAfter(2 ** 32 - 1), 2 ** 32 + 1)
    fc.assert(
      fc.property(position, (position) => {
        const next = positionAfter(position)
        assert(next > position && next <= position + 2)
        assert.equal(messageIdOf(next), next % 2 ** 32)
        assert.notEqual(messageIdOf(next), 0)
      }),
    )
  })
})

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { type ClientId, nameFromText, type PublicKey } from '@messageu/protocol/v2'
import {
  messageRecordBytes,
  recordKinds,
  sealedFrom,
  sealedHeadBytes,
  writeMessage,
} from '../../src/storage/records.ts'
import { createRing, RingConsumer, RingProducer } from '../../src/storage/ring.ts'
import { YoungMessages } from '../../src/storage/young.ts'
import type { Client, Message, StoredContent } from '../../src/storage.ts'
import { delivered } from './world.ts'

const alice: Client = {
  number: 1,
  login: randomBytes(16) as Uint8Array as ClientId,
  id: randomBytes(16) as Uint8Array as ClientId,
  name: nameFromText('alice'),
  publicKey: randomBytes(160) as Uint8Array as PublicKey,
}

function startYoung(capacity: number) {
  const shared = createRing(capacity)
  const ring = new RingProducer(shared)
  const consumer = new RingConsumer(shared)
  const young = new YoungMessages(ring)
  const add = (position: number, content: Uint8Array | StoredContent): void => {
    const message: Message = { sender: alice, room: { recipient: alice, [Symbol.dispose]() {} }, type: 'text', content }
    const place = ring.claim(messageRecordBytes(message), recordKinds.message) as number
    writeMessage(ring, place, position, 0, message)
    young.note(position, place, sealedFrom(ring, place))
    ring.publish()
    consumer.wait(0)
    consumer.takeAll(capacity)
    consumer.committed()
    ring.outcome()
  }
  return { young, add }
}

suite('young messages', () => {
  test('are copied as they will be delivered, up to so many bytes', () => {
    const { young, add } = startYoung(65_536)
    const contents = [1, 2, 3].map((i) => randomBytes(100 * i))
    for (const [i, content] of contents.entries()) add(i + 1, content)
    const positions = Float64Array.of(1, 2, 3)
    const sizes = Float64Array.from(contents, ({ length }) => sealedHeadBytes + length)
    const expected = contents.map((content, i) => delivered(alice, i + 1, content))
    assert.deepEqual(young.copy(positions, sizes, 0, 2 ** 20), { bytes: Buffer.concat(expected), count: 3 })
    assert.deepEqual(young.copy(positions, sizes, 1, 1), { bytes: expected[1], count: 1 })
  })

  test('are forgotten when they are overwritten', () => {
    const { young, add } = startYoung(4096)
    for (let position = 1; position <= 100; position++) {
      add(position, randomBytes(100))
      const held = Array.from({ length: position }, (_, i) => young.holds(i + 1, 125))
      assert.equal(held.at(-1), true)
      assert(held.filter(Boolean).length <= 4096 / 144)
      assert.deepEqual(held, [...held].sort(), 'the oldest go first')
    }
    assert.equal(young.copy(Float64Array.of(1), Float64Array.of(125), 0, 1000).count, 0)
  })

  test('a copy stops in front of one that is not young', () => {
    const { young, add } = startYoung(65_536)
    add(5, randomBytes(10))
    const sizes = Float64Array.of(35, 35)
    assert.equal(young.copy(Float64Array.of(5, 6), sizes, 0, 1000).count, 1)
    assert.equal(young.copy(Float64Array.of(4, 5), sizes, 0, 1000).count, 0)
  })

  test('a position further on takes the place of an older one', () => {
    const { young, add } = startYoung(65_536)
    add(7, randomBytes(10))
    add(7 + 65_536, randomBytes(10))
    assert(!young.holds(7, 35))
    assert(young.holds(7 + 65_536, 35))
  })

  test('a content in a file is never young', () => {
    const { young, add } = startYoung(65_536)
    add(1, { id: 1, bytes: 70_000, digest: 0 })
    assert(!young.holds(1, sealedHeadBytes + 70_000))
  })
})

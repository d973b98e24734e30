import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { SendId } from '@messageu/protocol/v3'
import fc from 'fast-check'
import type { SentRecord } from '../../src/archive.ts'
import { Deeds, packSent, replayDeeds, unpackSent } from '../../src/storage/deeds.ts'

const whole = fc.integer({ min: 0, max: 2 ** 50 })
const device = fc.integer({ min: 1, max: 2 ** 50 })
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const record: fc.Arbitrary<SentRecord> = fc.record(
  {
    device,
    number: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    id: bytes(16).map((id) => id as SendId),
    conversation: whole,
    sequence: whole,
    position: whole,
    at: whole,
    digest: bytes(8),
  },
  { noNullPrototype: true },
)
const acknowledged = fc.record({ device, through: whole }, { noNullPrototype: true })

suite('deeds', () => {
  test('the deeds of a commit are told as they were done, in their order', () => {
    const deeds = new Deeds()
    fc.assert(
      fc.property(fc.array(fc.oneof(record, acknowledged)), (done) => {
        deeds.begin()
        for (const deed of done)
          if ('through' in deed) deeds.acknowledged(deed.device, deed.through)
          else deeds.sent(deed, Buffer.concat([Buffer.alloc(3), deed.digest, deed.id]), 3)
        const told: object[] = []
        replayDeeds(deeds.bytes(), {
          sent: (sent) => told.push({ ...sent, id: sent.id.slice(), digest: sent.digest.slice() }),
          acknowledged: (device, through) => told.push({ device, through }),
        })
        assert.deepEqual(told, done)
        assert.equal(deeds.bytes().length === 0, done.length === 0)
      }),
    )
  })

  test('the records of one device come back from their column', () => {
    fc.assert(
      fc.property(device, fc.array(record), (device, records) => {
        const own = records.map((each) => ({ ...each, device }))
        assert.deepEqual(unpackSent(device, packSent(own)), own)
      }),
    )
  })

  test('a send in a row costs less than its fields would', () => {
    const records = Array.from({ length: 100 }, (_, i) => ({
      device: 70_000,
      number: 1_000_000 + i,
      id: new Uint8Array(16) as SendId,
      conversation: 100_000 + (i % 3),
      sequence: 5000 + i,
      position: 1e9 + 40 * i,
      at: 1.7e12 + 3 * i,
      digest: new Uint8Array(8),
    }))
    assert(packSent(records).length / 100 < 24 + 12)
  })

  test('K06 bytes that are cut short, or of no kind, are refused', () => {
    const deeds = new Deeds()
    deeds.begin()
    const sent = { device: 1, number: 1, conversation: 1, sequence: 1, position: 1, at: 1 }
    deeds.sent(sent, new Uint8Array(24), 0)
    const whole = deeds.bytes().slice()
    const ignore = { sent() {}, acknowledged() {} }
    replayDeeds(whole, ignore)
    for (let length = 1; length < whole.length; length++)
      assert.throws(() => replayDeeds(whole.subarray(0, length), ignore), RangeError)
    assert.throws(() => replayDeeds(Uint8Array.of(3, 1, 1), ignore), RangeError)
  })
})

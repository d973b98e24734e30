import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { Delivered, messageTypes } from '@messageu/protocol/v2'
import type { SendId } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { archiveLimits, type ObjectKind, objectKinds, type SentRecord } from '../../src/archive.ts'
import { messageIdInHead, messageIdOf, positionAfter, recordKinds, sealedHeadBytes } from '../../src/storage/records.ts'
import { createRing, RingConsumer, RingProducer, type RingRecord } from '../../src/storage/ring.ts'
import { SentRun } from '../../src/storage/sentrun.ts'
import { type PlacedStep, readStep, stepRecordBytes, writeStep } from '../../src/storage/steprecords.ts'

const whole = fc.integer({ min: 1, max: 2 ** 50 })
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const content = fc.uint8Array({ maxLength: 200 })
const message = fc.record(
  {
    box: fc.integer({ min: archiveLimits.firstBox, max: 2 ** 40 }),
    id: bytes(16).map((id) => id as SendId),
    content,
    sent: fc.option(
      fc.record(
        { device: whole, number: whole, conversation: whole, sequence: whole, digest: bytes(8) },
        { noNullPrototype: true },
      ),
      { nil: undefined },
    ),
  },
  { noNullPrototype: true },
)
const object = fc.record(
  {
    kind: fc.constantFrom(...(Object.keys(objectKinds) as ObjectKind[])),
    key: content,
    value: fc.option(content, { nil: undefined }),
  },
  { noNullPrototype: true },
)
const run = fc
  .record({
    place: fc.record({
      box: fc.integer({ min: archiveLimits.firstBox, max: 2 ** 40 }),
      device: whole,
      conversation: whole,
      sequence: fc.integer({ min: 1, max: 2 ** 40 }),
    }),
    sends: fc.array(fc.record({ number: whole, id: bytes(16), content, digest: bytes(8) }), { minLength: 1 }),
  })
  .map(({ place, sends }) => {
    const made = new SentRun(place, (sends[0] as (typeof sends)[number]).content.length)
    for (const { number, id, content, digest } of sends) {
      made.bytes.set(content, made.add(number, id, content.length))
      const halves = Buffer.from(digest)
      made.digest(halves.readUInt32LE(0), halves.readUInt32LE(4), crc32(content))
    }
    return made
  })
const step = fc.record(
  {
    messages: fc.array(message),
    run,
    objects: fc.array(object),
    trims: fc.array(fc.record({ box: whole, through: whole }, { noNullPrototype: true })),
    acknowledged: fc.record({ device: whole, through: whole }, { noNullPrototype: true }),
    forgotten: fc.array(whole),
    filed: fc.boolean(),
  },
  { requiredKeys: ['filed'], noNullPrototype: true },
)

/** Everything that the other side of the ring is told of a step. */
function passed(placed: PlacedStep, positions: number[], at: number) {
  const shared = createRing(2 ** 18)
  const producer = new RingProducer(shared)
  const consumer = new RingConsumer(shared)
  producer.claim(64, 9) // so that offsets matter
  const sealed: number[] = []
  const place = producer.claim(stepRecordBytes(placed), recordKinds.step) as number
  writeStep(producer, place, { positions, at }, placed, {
    sealedAt(index, offset) {
      sealed[index] = offset
    },
  })
  producer.claim(16, 9) // what a step would write beyond its end is overwritten
  producer.publish()
  consumer.wait(0)
  consumer.next(2 ** 18)
  const record = consumer.next(2 ** 18) as RingRecord
  const told = {
    messages: [] as object[],
    sent: [] as Omit<SentRecord, 'id'>[],
    objects: [] as object[],
    trims: [] as object[],
    acknowledged: undefined as object | undefined,
    forgotten: [] as number[],
  }
  readStep(consumer, record.offset, {
    message: (row) => told.messages.push({ ...row, sealed: Buffer.from(row.sealed).toString('hex') }),
    sent: (sent, from) => told.sent.push({ ...sent, digest: new Uint8Array(consumer.bytes.slice(from, from + 8)) }),
    object: (kind, key, value) => told.objects.push({ kind, key: key.slice(), value: value?.slice() }),
    trim: (box, through) => told.trims.push({ box, through }),
    acknowledged: (device, through) => {
      told.acknowledged = { device, through }
    },
    forgotten: (id) => told.forgotten.push(id),
  })
  return {
    told,
    sealed: sealed.map((from) => producer.bytes.subarray(from)),
  }
}

suite('step records', () => {
  test('a step comes out of the ring as it went in', () => {
    fc.assert(
      fc.property(step, whole, fc.integer({ min: 0, max: 2 ** 45 }), ({ filed, ...step }, first, at) => {
        const single = step.messages ?? []
        const inRun = step.run?.numbers.map((_, i) => (step.run as SentRun).message(i)) ?? []
        const messages = [...single, ...inRun]
        const files = filed
          ? new Map(single.map(({ content }, i) => [i, { id: i + 5, bytes: content.length, digest: i }]))
          : undefined
        const positions: number[] = []
        for (let position = first; positions.length < messages.length; position = positionAfter(position))
          positions.push(position)
        const { told, sealed } = passed({ ...step, files }, positions, at)
        const forms = messages.map(({ id, content }, i) => {
          const head = Buffer.alloc(sealedHeadBytes)
          head.set(id)
          head.writeUInt32LE(messageIdOf(positions[i] as number), 16)
          head.writeUInt8(0x80, 20)
          head.writeUInt32LE(content.length, 21)
          return filed && i < single.length ? head : Buffer.concat([head, content])
        })
        assert.deepEqual(told, {
          messages: messages.map(({ box, content }, i) => ({
            position: positions[i],
            at,
            recipient: box,
            digest: crc32(forms[i] as Buffer),
            content: files?.get(i),
            sealed: forms[i]?.toString('hex'),
            bytes: sealedHeadBytes + content.length,
          })),
          sent: messages.flatMap(({ sent }, i) =>
            sent ? [{ ...sent, digest: Uint8Array.from(sent.digest), position: positions[i], at }] : [],
          ),
          objects: (step.objects ?? []).map(({ kind, key, value }) => ({ kind: objectKinds[kind], key, value })),
          trims: step.trims ?? [],
          acknowledged: step.acknowledged,
          forgotten: step.forgotten ?? [],
        })
        if (!filed)
          for (const [i, form] of forms.entries()) assert(form.equals((sealed[i] as Buffer).subarray(0, form.length)))
        for (const [i, form] of forms.entries())
          assert.equal(messageIdInHead(form), messageIdOf(positions[i] as number))
      }),
    )
  })

  test('the messages of a run are what was put into it, and its bytes are parted from the next one’s', () => {
    fc.assert(
      fc.property(fc.array(run, { minLength: 2, maxLength: 4 }), (runs) => {
        const before = runs.map((each) => each.numbers.map((_, i) => structuredClone(each.message(i))))
        const later = new SentRun({ box: archiveLimits.firstBox, device: 1, conversation: 1, sequence: 1 }, 100)
        later.bytes.fill(0xff, later.add(1, new Uint8Array(16).fill(0xff), 100), 100)
        for (const [i, each] of runs.entries()) {
          assert.deepEqual(
            each.numbers.map((_, at) => structuredClone(each.message(at))),
            before[i],
          )
          assert.equal(each.written.length, each.length)
          assert(i === runs.length - 1 || !each.hasRoom(0), 'another one was begun behind it')
        }
      }),
    )
  })

  test('no message of version 3 passes for one of version 2', () => {
    assert(Object.values(messageTypes).every((type) => type < 0x80))
    assert.equal(Delivered.max, sealedHeadBytes)
  })
})

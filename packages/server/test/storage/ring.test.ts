import assert from 'node:assert/strict'
import { once } from 'node:events'
import { suite, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { createRing, RingConsumer, RingProducer, recordHeadBytes } from '../../src/storage/ring.ts'
import type { RingReport, RingWork } from './ring-consumer.ts'
import { randomFrom, seed } from './world.ts'

function startRing(capacity: number): { producer: RingProducer; consumer: RingConsumer } {
  const shared = createRing(capacity)
  return { producer: new RingProducer(shared), consumer: new RingConsumer(shared) }
}

/** Writes a record that carries `number`, if there is room. */
function put(producer: RingProducer, number: number, bytes: number): number | undefined {
  const place = producer.claim(recordHeadBytes + bytes, 1)
  if (place === undefined) return undefined
  producer.view.setUint32(producer.offset(place) + recordHeadBytes, number, true)
  producer.publish()
  producer.wake()
  return place
}

function takeAll(consumer: RingConsumer, bytesMax = 2 ** 30): number[] {
  const numbers: number[] = []
  for (let record = consumer.next(bytesMax); record !== undefined; record = consumer.next(bytesMax))
    numbers.push(consumer.view.getUint32(record.offset, true))
  return numbers
}

suite('ring', () => {
  test('what the producer writes the consumer reads, in order, round and round', () => {
    const { producer, consumer } = startRing(1024)
    const random = randomFrom(seed)
    let sent = 0
    let got = 0
    for (let round = 0; round < 5000; round++) {
      while (random.below(4) > 0 && put(producer, sent, 4 + random.below(300)) !== undefined) sent += 1
      if (consumer.wait(0) === 'idle') continue
      for (const number of takeAll(consumer)) assert.equal(number, got++, `seed ${seed}`)
      consumer.committed()
      assert.equal(producer.outcome().failure, undefined)
    }
    assert(sent > 5000)
    assert(sent - got <= 1024 / 16)
  })

  test('a full ring takes a record only when the consumer has made room', () => {
    const { producer, consumer } = startRing(256)
    for (let i = 0; i < 4; i++) assert.notEqual(put(producer, i, 56), undefined)
    assert.equal(put(producer, 4, 4), undefined)
    assert.equal(consumer.wait(0), 'records')
    assert.deepEqual(takeAll(consumer, 1), [0], 'one record at least')
    consumer.committed()
    assert.equal(put(producer, 4, 56), undefined, 'the producer has not heard of it yet')
    assert.equal(producer.outcome().durable, 64)
    assert.notEqual(put(producer, 4, 56), undefined)
    assert.equal(put(producer, 5, 4), undefined)
  })

  test('a record never wraps: the end of the ring is skipped', () => {
    const { producer, consumer } = startRing(256)
    assert.equal(put(producer, 1, 120), 0)
    consumer.wait(0)
    takeAll(consumer)
    consumer.committed()
    producer.outcome()
    assert.equal(put(producer, 2, 56), 128)
    consumer.wait(0)
    takeAll(consumer)
    consumer.committed()
    producer.outcome()
    assert.equal(put(producer, 3, 120), 256)
    assert.equal(producer.offset(256), 0)
    consumer.wait(0)
    assert.deepEqual(takeAll(consumer), [3])
  })

  test('a record that could never fit is a mistake of ours', () => {
    const { producer } = startRing(256)
    assert.throws(() => producer.claim(129, 1), /fits/)
  })

  test('a record is there until it is overwritten', () => {
    const { producer, consumer } = startRing(256)
    const place = put(producer, 1, 56) as number
    for (let i = 0; i < 3; i++) put(producer, i, 56)
    assert(producer.holds(place))
    consumer.wait(0)
    takeAll(consumer)
    consumer.committed()
    producer.outcome()
    put(producer, 5, 4)
    assert(!producer.holds(place))
  })

  test('a batch ends after so many bytes, and the rest comes with the next', () => {
    const { producer, consumer } = startRing(1024)
    for (let i = 0; i < 6; i++) put(producer, i, 56)
    consumer.wait(0)
    assert.deepEqual(takeAll(consumer, 129), [0, 1, 2])
    consumer.committed()
    assert.equal(consumer.wait(0), 'records')
    assert.deepEqual(takeAll(consumer, 129), [3, 4, 5])
  })

  test('places beyond 32 bits are told right', () => {
    const { producer, consumer } = startRing(2 ** 20)
    let end = 0
    for (let i = 0; end < 2 ** 33 + 2 ** 31; i++) {
      end = (put(producer, i, 2 ** 19 - recordHeadBytes) as number) + 2 ** 19
      consumer.wait(0)
      assert.deepEqual(takeAll(consumer), [i])
      consumer.committed()
      assert.equal(producer.outcome().durable, end)
    }
  })

  test('a consumer that is closed ends when it has consumed everything', () => {
    const { producer, consumer } = startRing(256)
    put(producer, 1, 4)
    producer.close()
    assert.equal(consumer.wait(0), 'records')
    takeAll(consumer)
    consumer.committed()
    assert.equal(consumer.wait(0), 'closed')
  })

  test('nobody is told anything wrong, whatever the other thread commits or refuses', async () => {
    const shared = createRing(65_536)
    const producer = new RingProducer(shared)
    const workerData: RingWork = { shared, seed }
    const worker = new Worker(new URL('ring-consumer.ts', import.meta.url), { workerData })
    const random = randomFrom(seed + 1)
    const count = 60_000
    const waiting: { number: number; end: number }[] = []
    const told = { durable: [] as number[], refused: [] as number[] }
    for (let next = 0; next < count || waiting.length > 0; ) {
      for (let burst = random.below(200); burst > 0 && next < count; burst--) {
        const bytes = 4 + random.below(random.below(10) === 0 ? 8000 : 100)
        const place = put(producer, next, bytes)
        if (place === undefined) break
        waiting.push({ number: next++, end: place + recordHeadBytes + bytes })
      }
      if (waiting.length === 0) continue
      await producer.progress()
      const { durable, failure } = producer.outcome()
      while (waiting.length > 0 && (waiting[0]?.end as number) <= durable)
        told.durable.push(waiting.shift()?.number as number)
      if (failure) told.refused.push(...waiting.splice(0).map(({ number }) => number))
    }
    producer.close()
    const [report] = (await once(worker, 'message')) as [RingReport]
    assert.deepEqual(told.durable, report.committed, `seed ${seed}`)
    const refused = new Set(told.refused)
    assert(report.refused.every((number) => refused.has(number)))
    assert.equal(told.durable.length + told.refused.length, count, 'and so is everything behind it')
    assert(report.refused.length > 0 && told.refused.length > report.refused.length)
  })

  test('interrupted, the producer waits no longer for a consumer that is gone', async () => {
    const { producer } = startRing(256)
    const waiting = producer.progress()
    producer.interrupt()
    await waiting
  })
})

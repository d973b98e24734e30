import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { limits } from '../../src/limits.ts'
import type { Course, LongAbsence } from './long-absence.ts'

const count = Number(process.env.MESSAGING_WAITING ?? 10_000)
const days = 30

test(`N07: after ${days} days, ${count} messages and many epochs a device catches up, in order, with bounded memory`, async () => {
  const texts = Array.from({ length: count }, (_, i) => `message ${i}`)
  const { heard, history, unopened, gaps, stuck, epochs, awayMs, most, answers } = await goThrough({ days, texts })
  assert.ok(awayMs >= days * 86_400_000)
  assert.ok(epochs > 10, `only ${epochs} epochs had passed`)
  assert.deepEqual(heard, texts)
  assert.deepEqual(history, texts)
  assert.deepEqual({ unopened, gaps, stuck }, { unopened: 0, gaps: 0, stuck: 0 })
  assert.ok(most <= limits.windowMessages, `${most} deliveries were under way at once`)
  assert.deepEqual(answers, ['I am back'])
})

/** In a thread of its own: tests are watched promise by promise, and there are millions of them. */
async function goThrough(course: Course): Promise<LongAbsence> {
  const worker = new Worker(new URL('./long-absence.ts', import.meta.url), { workerData: course })
  const [seen]: LongAbsence[] = await once(worker, 'message')
  assert.ok(seen !== undefined)
  return seen
}

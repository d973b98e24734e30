import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

// In threads of their own: the engine as published keeps its thread busy for ever. CONVERSATIONS E 1

const deadlineMs = 60_000

for (const loop of [
  'an external commit that removes leaf 1000',
  'a tree in which leaf 1000 is unmerged',
  'a resync of somebody who has no leaf',
])
  test(`the engine comes to an end with ${loop}`, async () => {
    const worker = new Worker(new URL('./loops.fixture.ts', import.meta.url), { workerData: loop })
    const settled = new AbortController()
    const ended = new Promise<unknown>((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
    })
    const late = setTimeout(deadlineMs, 'it never ended', { signal: settled.signal }).catch(() => 'it ended')
    const ending = await Promise.race([ended, late])
    settled.abort()
    await worker.terminate()
    assert.equal(ending, 'it was refused')
  })

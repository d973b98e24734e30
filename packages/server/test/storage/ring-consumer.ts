/** The other side of the ring's test: commits and refuses batches of records as it likes, and reports which. */
import { parentPort, workerData } from 'node:worker_threads'
import { RingConsumer, type SharedRing } from '../../src/storage/ring.ts'
import { randomFrom } from './world.ts'

export interface RingWork {
  readonly shared: SharedRing
  readonly seed: number
}

export interface RingReport {
  readonly committed: readonly number[]
  readonly refused: readonly number[]
}

const { shared, seed } = workerData as RingWork
const ring = new RingConsumer(shared)
const random = randomFrom(seed)
const committed: number[] = []
const refused: number[] = []
while (ring.wait(1000) !== 'closed') {
  const batch: number[] = []
  const bytesMax = 1 + random.below(4000)
  for (let record = ring.next(bytesMax); record !== undefined; record = ring.next(bytesMax))
    batch.push(ring.view.getUint32(record.offset, true))
  if (random.below(10) === 0) {
    refused.push(...batch)
    ring.refused(13)
  } else {
    committed.push(...batch)
    ring.committed()
  }
}
parentPort?.postMessage({ committed, refused } satisfies RingReport)

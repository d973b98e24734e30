import path from 'node:path'
import { Child } from './children.ts'
import { benchFolder, type Figure, median, pairs, rounded } from './measure.ts'
import type { tasks } from './storage-child.ts'

type StorageTasks = typeof tasks

const runMs = 1500
const pairCount = 6
const million = 1_000_000

/** The storage without a network. */
export async function* storageFigures(): AsyncGenerator<Figure> {
  await using folder = await benchFolder()
  const empty = path.join(folder.path, 'empty')
  const full = path.join(folder.path, 'full')
  {
    await using child = new Child<StorageTasks>('./storage-child.ts')
    await child.ask('open', { folder: empty, clients: 200, waiting: 0 })
    let cpuUs = 0
    let messages = 0
    const accept = async (): Promise<number> => {
      const before = child.cpuUs()
      const rate = await child.ask('accept', { folder: empty, ms: runMs })
      cpuUs += child.cpuUs() - before
      messages += (rate * runMs) / 1000
      return rate
    }
    const { ratio, ours, limit, spread } = await pairs(pairCount, accept, () =>
      child.ask('raw', { folder: folder.path, ms: runMs }),
    )
    yield {
      name: 'storage.accept',
      value: rounded(ratio),
      unit: 'accepted and durable messages/s ÷ raw log-layout inserts/s',
      goal: 0.8,
      better: 'higher',
      beside: { messagesPerSecond: ours, rawPerSecond: limit, cpuUsPerMessage: rounded(cpuUs / messages), spread },
    }
    await child.ask('close', empty)
  }
  {
    await using child = new Child<StorageTasks>('./storage-child.ts')
    const fresh = path.join(folder.path, 'fresh')
    await child.ask('open', { folder: full, clients: 1100, waiting: million })
    await child.ask('open', { folder: fresh, clients: 1100, waiting: 0 })
    const run = (of: string) => () => child.ask('accept', { folder: of, ms: runMs })
    const { ratio, ours, limit, spread } = await pairs(pairCount, run(full), run(fresh))
    yield {
      name: 'storage.accept-with-1M-waiting',
      value: rounded(ratio),
      unit: 'messages/s with 1 M waiting ÷ with none',
      goal: 0.95,
      better: 'higher',
      beside: { full: ours, fresh: limit, spread },
    }
  }
  yield* startFigures(folder.path)
}

async function* startFigures(folder: string): AsyncGenerator<Figure> {
  const waiting = path.join(folder, 'waiting')
  for (const state of ['journal', 'folded'] as const) {
    {
      await using child = new Child<StorageTasks>('./storage-child.ts')
      await child.ask('open', {
        folder: waiting,
        clients: state === 'journal' ? 1100 : 0,
        waiting: state === 'journal' ? million : 0,
      })
      if (state === 'folded') await child.ask('settle', waiting)
      await child.ask('close', waiting)
    }
    const memory: number[] = []
    const start = async (): Promise<number> => {
      await using child = new Child<StorageTasks>('./storage-child.ts', ['--expose-gc'])
      const { ms, bytes } = await child.ask('start', waiting)
      memory.push(bytes)
      return ms
    }
    const count = async (): Promise<number> => {
      await using child = new Child<StorageTasks>('./storage-child.ts')
      await child.ask('count', waiting)
      return await child.ask('count', waiting) // the second time its pages are in the cache
    }
    const { ratio, ours, limit, spread } = await pairs(pairCount, start, count)
    yield {
      name: `storage.start-1M-${state}`,
      value: rounded(ratio),
      unit: 'time to open with 1 M waiting ÷ SELECT count(*), sum(length(…))',
      goal: 1.5,
      better: 'lower',
      beside: { openMs: ours, countMs: limit, spread },
    }
    yield {
      name: `storage.start-1M-${state}-memory`,
      value: rounded(median(memory) / 2 ** 20),
      unit: 'MiB that opening with 1 M waiting adds',
      goal: 64,
      better: 'lower',
      beside: {},
    }
  }
}

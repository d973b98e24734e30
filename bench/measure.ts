import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { DatabaseSync } from 'node:sqlite'
import { databaseFile } from '../packages/server/src/storage/folder.ts'

/** One line of the result. `goal` is what is asked for; `better` says in which direction. */
export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly goal: number
  readonly better: 'higher' | 'lower'
  /** What else was seen: rates, CPU time, spread. */
  readonly beside: Readonly<Record<string, number | string>>
}

/** Data lies on the disk under test, not in memory: beside the repository, unless BENCH_DIR says otherwise. */
export async function benchFolder(): Promise<AsyncDisposable & { path: string }> {
  const folder = await mkdtemp(path.join(process.env.BENCH_DIR ?? path.resolve('dist'), 'bench-'))
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

export const rounded = (value: number): number => Number(value.toPrecision(3))

/** Runs `ours` and `limit` in turn, and returns the median of the ratios pair by pair, with what each reached. */
export async function pairs(
  count: number,
  ours: () => Promise<number>,
  limit: () => Promise<number>,
): Promise<{ ratio: number; ours: number; limit: number; spread: string }> {
  await ours() // warm-up, not counted
  await limit()
  const measured: { ours: number; limit: number }[] = []
  for (let i = 0; i < count; i++) {
    // the order alternates as well, so that neither always comes second
    if (i % 2 === 0) {
      const first = await ours()
      measured.push({ ours: first, limit: await limit() })
    } else {
      const first = await limit()
      measured.push({ ours: await ours(), limit: first })
    }
  }
  const ratios = measured.map((pair) => pair.ours / pair.limit)
  return {
    ratio: median(ratios),
    ours: rounded(median(measured.map((pair) => pair.ours))),
    limit: rounded(median(measured.map((pair) => pair.limit))),
    spread: `${rounded(Math.min(...ratios))}..${rounded(Math.max(...ratios))}`,
  }
}

/** Waits until the journal of a storage is folded away, as it is after a while of quiet. */
export async function settled(folder: string): Promise<void> {
  const database = new DatabaseSync(databaseFile(folder), { readOnly: true })
  const rows = database.prepare('SELECT count(*) AS rows FROM journal')
  while ((rows.get() as { rows: number }).rows > 0) await new Promise((resolve) => setTimeout(resolve, 200))
  database.close()
}

/**
 * 99th percentile of the event loop's delay in milliseconds, since the last call. The monitor sees how far apart the
 * ticks of a timer of 1 ms are; a loop that has nothing to do is not delayed.
 */
export function loopDelayMeter(): () => number {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  return () => {
    const p99 = delay.percentile(99) / 1e6
    delay.reset()
    return Math.max(0, p99 - 1)
  }
}

/** Latency of appending 4 KiB and syncing it, in milliseconds. */
export function fdatasyncMs(folder: string, count = 2000): { p50: number; p99: number } {
  const file = path.join(folder, 'fdatasync.bin')
  const descriptor = openSync(file, 'w')
  const block = Buffer.alloc(4096, 7)
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    writeSync(descriptor, block, 0, block.length, i * block.length)
    fdatasyncSync(descriptor)
    times.push(performance.now() - start)
  }
  closeSync(descriptor)
  rmSync(file)
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) }
}

import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { enableCompileCache } from 'node:module'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { examine, openLog, readConfig, startServer } from '../packages/server/src/index.ts'
import { Oracle } from './oracle.ts'
import { compileCache, copyFolder, EndedEarly, ServerProcess, temporaryFolder } from './serverProcess.ts'
import { needsStrace, readTrace, type Tracing } from './strace.ts'
import { randomFrom, trouble } from './trouble.ts'

// the servers that judge are threads of this process, and threads find the cache by its name in the environment
process.env.NODE_COMPILE_CACHE = enableCompileCache(compileCache).directory

/** Everything that changes a file, and `write`, by which answers leave. */
const changing = ['pwrite64', 'pwritev', 'write', 'writev', 'fsync', 'fdatasync', 'ftruncate']
const renaming = ['rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'mkdir']
const calls = [...changing, ...renaming]
/** With one thread for files, calls come in the same order in every run. */
const environment = { UV_THREADPOOL_SIZE: '1' }
const seed = Number(process.env.CRASH_SEED ?? Date.now() % 2 ** 31)

/** A story to be cut short anywhere. Every step may find the server gone. */
interface Story {
  /** What the data folder holds at the beginning. */
  prepare(folder: string): Promise<Oracle>
  tell(oracle: Oracle): Promise<void>
}

const firstDays: Story = {
  prepare: async () => new Oracle(),
  async tell(oracle) {
    await oracle.register('alice')
    await oracle.register('bob')
    for (const bytes of [10, 300, 5000]) await oracle.send('alice', 'bob', bytes)
    await oracle.send('alice', 'bob', 100_000)
    await Promise.all(['bob', 'alice', 'bob', 'alice'].map((to) => oracle.send('alice', to, 1000)))
    await oracle.fetch('bob')
    await Promise.all([oracle.register('carol'), oracle.send('bob', 'alice', 200_000), oracle.send('bob', 'alice', 50)])
    await oracle.send('alice', 'carol', 70_000)
    await oracle.breakOffFetch('carol')
    await Promise.all([oracle.fetch('alice'), oracle.fetch('bob'), oracle.send('alice', 'bob', 30)])
  },
}

/** A server that was killed, with a journal that is long enough to be folded, waiting and delivered messages. */
function laterDays(template: { folder: string; oracle: Oracle }): Story {
  return {
    async prepare(folder) {
      await copyFolder(template.folder, folder)
      return template.oracle.copy()
    },
    async tell(oracle) {
      await oracle.send('bob', 'alice', 100)
      await sleep(160) // the journal is folded after 100 ms of quiet
      await Promise.all([oracle.fetch('bob'), oracle.send('alice', 'bob', 90_000)])
      await oracle.register('dave')
      await Promise.all([oracle.fetch('alice'), oracle.fetch('bob'), oracle.send('alice', 'bob', 10)])
    },
  }
}

async function livedIn(folder: string): Promise<{ folder: string; oracle: Oracle }> {
  const oracle = new Oracle()
  await using server = await ServerProcess.start({ folder })
  oracle.meet(server.address)
  for (const name of ['alice', 'bob', 'carol']) await oracle.register(name)
  const many = async (count: number, from: string, to: string, bytes: number) => {
    for (let i = 0; i < count; i++) await oracle.send(from, to, bytes + i)
  }
  await many(20, 'alice', 'carol', 20)
  await many(120, 'alice', 'bob', 40)
  await many(2, 'bob', 'alice', 80_000)
  await oracle.fetch('bob')
  await many(60, 'carol', 'bob', 300)
  await oracle.breakOffFetch('bob')
  await many(90, 'bob', 'alice', 60)
  await oracle.fetch('alice')
  await many(10, 'bob', 'alice', 60)
  await many(2, 'alice', 'bob', 90_000)
  return { folder, oracle }
}

interface Point {
  readonly call: string
  readonly when: number
  /** Counts calls on this file only. */
  readonly file?: string
}

/** So much at once that the write-ahead log has to go into the database in the middle of it. */
const busyDay: Story = {
  prepare: async () => new Oracle(),
  async tell(oracle) {
    for (const name of ['alice', 'bob']) await oracle.register(name)
    const sender = async (from: string, to: string): Promise<void> => {
      for (let i = 0; i < 45; i++) await oracle.send(from, to, 65_000)
    }
    await Promise.all(['alice', 'bob'].flatMap((name) => Array.from({ length: 4 }, () => sender(name, 'bob'))))
  },
}

interface Ending {
  readonly hit: boolean
  readonly oracle: Oracle
}

/** Tells the story to a server that is killed on the way, or stopped at the end if it was not. */
async function play(story: Story, folder: string, tracing: Tracing | undefined): Promise<Ending> {
  const oracle = await story.prepare(folder)
  try {
    await using server = await ServerProcess.start({ folder, environment, tracing, flags: ['--log-level', 'error'] })
    oracle.meet(server.address)
    await story.tell(oracle)
    const { signal } = await server.end()
    assert.equal(server.run.err, '', 'the server has nothing to complain about')
    return { hit: signal === 'SIGKILL', oracle }
  } catch (error) {
    if (error instanceof EndedEarly && error.exit.signal === 'SIGKILL') return { hit: true, oracle }
    throw error
  }
}

/** All calls of the story that change something or answer somebody, by the number that strace counts them with. */
async function pointsOf(story: Story, folder: string, trace: string): Promise<Point[]> {
  const { hit, oracle } = await play(story, folder, { calls, output: trace })
  assert(!hit)
  await survived(folder, oracle)
  const counts = new Map<string, number>()
  const points: Point[] = []
  for (const { thread, name, text } of readTrace(await readFile(trace, 'utf8'))) {
    const when = (counts.get(`${thread} ${name}`) ?? 0) + 1
    counts.set(`${thread} ${name}`, when)
    if (!/<(anon_inode|pipe):|node_modules/.test(text)) points.push({ call: name, when })
  }
  return points
}

/** The server starts again, keeps what it has promised, goes on working, and its folder is whole before and after. */
async function survived(folder: string, oracle: Oracle): Promise<void> {
  await noDamage(folder, ['damage'])
  const flags = { data: folder, port: '0', 'v2.port': '0', 'disk-reserve': '0%' }
  const server = await startServer(readConfig({ flags, environment: {}, workingFolder: folder }), openLog('error'))
  try {
    oracle.meet(server.v2)
    await oracle.register('zoe')
    const sends = [100, 66_000].map((bytes) => oracle.send('zoe', 'zoe', bytes))
    assert.deepEqual(await Promise.all(sends), ['accepted', 'accepted'])
    await oracle.judge()
  } finally {
    await server.stop(1000)
  }
  await noDamage(folder, ['damage', 'warning'])
  assert.deepEqual(await readdir(`${folder}/content/incoming`), [], 'no upload is left over')
  assert.deepEqual(await readdir(`${folder}/content`), ['incoming'], 'no content is left over')
}

async function noDamage(folder: string, bad: readonly string[]): Promise<void> {
  for await (const finding of examine(folder)) {
    const young = finding.object === 'server.db' && finding.what.startsWith('there is none')
    if (!young) assert(!bad.includes(finding.kind), `${finding.object}: ${finding.what}`)
  }
}

async function crashAt(story: Story, points: readonly Point[], t: TestContext): Promise<void> {
  const queue = [...points]
  let hits = 0
  const worker = async (): Promise<void> => {
    for (let point = queue.shift(); point !== undefined; point = queue.shift()) {
      await using temporary = await temporaryFolder('memory')
      const folder = temporary.of('data')
      const inject = `signal=KILL:when=${point.when}`
      try {
        const paths = point.file === undefined ? [] : [path.join(folder, point.file)]
        const { hit, oracle } = await play(story, folder, { calls: [point.call], inject, paths })
        if (hit) hits += 1
        await survived(folder, oracle)
      } catch (error) {
        throw new Error(`killed at ${point.call} ${point.when}, CRASH_SEED=${seed}`, { cause: error })
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, worker))
  t.diagnostic(`${points.length} points, ${hits} killed there, the others at the end; CRASH_SEED=${seed}`)
  assert(hits > points.length / 2, 'most points are reached')
}

function sampled(points: readonly Point[], count: number): Point[] {
  const different = [...new Map(points.map((point) => [`${point.call} ${point.when}`, point])).values()]
  const random = randomFrom(seed)
  return different
    .map((point) => ({ point, key: random() }))
    .sort((a, b) => a.key - b.key)
    .slice(0, count)
    .map(({ point }) => point)
}

test(
  'K01 a server killed at any call of its first days has lost nothing that it had promised',
  needsStrace,
  async (t) => {
    await using temporary = await temporaryFolder()
    const points = await pointsOf(firstDays, temporary.of('data'), temporary.of('trace'))
    await crashAt(firstDays, sampled(points, 50), t)
  },
)

test('K01 a server killed while its log moves into the database has lost nothing', needsStrace, async (t) => {
  const points = [3, 700, 1900, 3100, 3600].map((when) => ({ call: 'pwrite64', when, file: 'server.db' }))
  await crashAt(busyDay, [...points, { call: 'fsync', when: 1, file: 'server.db' }], t)
})

test('K01 a server killed at any time under load, again and again, has lost nothing', async (t) => {
  const random = randomFrom(seed)
  const oracle = new Oracle()
  const names = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank']
  await using temporary = await temporaryFolder('memory')
  const folder = temporary.of('data')
  for (let round = 0; round < 12; round++) {
    await using server = await ServerProcess.start({ folder })
    oracle.meet(server.address)
    if (round === 0) for (const name of names) await oracle.register(name)
    const over = new AbortController()
    const told = trouble(oracle, names, random, over.signal)
    await sleep(50 + random() * 250)
    await server.end('SIGKILL')
    over.abort()
    await told
  }
  t.diagnostic(`${oracle.accepted} messages were accepted; CRASH_SEED=${seed}`)
  await survived(folder, oracle)
})

test(
  'K01 a server killed while it recovers, folds its journal and delivers has lost nothing',
  needsStrace,
  async (t) => {
    await using temporary = await temporaryFolder()
    const story = laterDays(await livedIn(temporary.of('template')))
    const points = await pointsOf(story, temporary.of('data'), temporary.of('trace'))
    await crashAt(story, sampled(points, 50), t)
  },
)

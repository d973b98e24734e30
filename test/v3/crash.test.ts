import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { enableCompileCache } from 'node:module'
import { availableParallelism } from 'node:os'
import { type TestContext, test } from 'node:test'
import { examine, openLog, readConfig, startServer } from '../../packages/server/src/index.ts'
import { compileCache, EndedEarly, ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { needsStrace, readTrace, type Tracing } from '../strace.ts'
import { randomFrom } from '../trouble.ts'
import { NoAnswer } from './peer.ts'
import { Story } from './story.ts'
import { Rejected } from './wire.ts'

// the servers that judge are threads of this process, and threads find the cache by its name in the environment
process.env.NODE_COMPILE_CACHE = enableCompileCache(compileCache).directory

const changing = ['pwrite64', 'pwritev', 'write', 'writev', 'fsync', 'fdatasync', 'ftruncate']
const renaming = ['rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'mkdir']
const calls = [...changing, ...renaming]
/** With one thread for files, calls come in the same order in every run. */
const environment = { UV_THREADPOOL_SIZE: '1' }
const seed = Number(process.env.CRASH_SEED ?? Date.now() % 2 ** 31)
const pointsMax = Number(process.env.CRASH_POINTS ?? 100)

interface Point {
  readonly call: string
  readonly when: number
}

/** Tells the story to a server that is killed on the way, or stopped at its end if it was not. */
async function play(story: Story, folder: string, tracing?: Tracing): Promise<{ hit: boolean }> {
  try {
    await using server = await ServerProcess.start({ folder, environment, tracing, flags: ['--log-level', 'error'] })
    try {
      await story.tell(server)
    } catch (error) {
      if (!(error instanceof NoAnswer || error instanceof Rejected)) throw error
    }
    const { signal } = await server.end()
    assert.equal(server.run.err, '', 'the server has nothing to complain about')
    return { hit: signal === 'SIGKILL' }
  } catch (error) {
    if (error instanceof EndedEarly && error.exit.signal === 'SIGKILL') return { hit: true }
    throw error
  }
}

/** The server starts again where it was, the story comes to its end, and the folder is whole before and after. */
async function survived(story: Story, folder: string): Promise<void> {
  await noDamage(folder, ['damage'])
  const flags = { data: folder, port: '0', 'v2.port': '0', 'disk-reserve': '0%' }
  const server = await startServer(readConfig({ flags, environment: {}, workingFolder: folder }), openLog('error'))
  try {
    await story.tell(server)
    await story.judge(server)
  } finally {
    await server.stop(1000)
  }
  await noDamage(folder, ['damage', 'warning'])
  assert.deepEqual(await readdir(`${folder}/content/incoming`), [], 'no upload is left over')
}

async function noDamage(folder: string, bad: readonly string[]): Promise<void> {
  for await (const finding of examine(folder)) {
    const isYoung = finding.object === 'server.db' && finding.what.startsWith('there is none')
    if (!isYoung) assert(!bad.includes(finding.kind), `${finding.object}: ${finding.what}`)
  }
}

/** All calls of the story that change something or answer somebody, by the number that strace counts them with. */
async function pointsOf(folder: string, trace: string): Promise<Point[]> {
  const story = new Story()
  assert(!(await play(story, folder, { calls, output: trace })).hit)
  await survived(story, folder)
  const counts = new Map<string, number>()
  const points = new Map<string, Point>()
  for (const { thread, name, text } of readTrace(await readFile(trace, 'utf8'))) {
    const when = (counts.get(`${thread} ${name}`) ?? 0) + 1
    counts.set(`${thread} ${name}`, when)
    if (!/<(anon_inode|pipe):|node_modules/.test(text)) points.set(`${name} ${when}`, { call: name, when })
  }
  return [...points.values()]
}

function sampled(points: readonly Point[], count: number): Point[] {
  const random = randomFrom(seed)
  return points
    .map((point) => ({ point, key: random() }))
    .sort((a, b) => a.key - b.key)
    .slice(0, count)
    .map(({ point }) => point)
}

async function crashAt(points: readonly Point[], t: TestContext): Promise<void> {
  const queue = [...points]
  let hits = 0
  const worker = async (): Promise<void> => {
    for (let point = queue.shift(); point !== undefined; point = queue.shift()) {
      await using temporary = await temporaryFolder('memory')
      const folder = temporary.of('data')
      const story = new Story()
      try {
        const { hit } = await play(story, folder, { calls: [point.call], inject: `signal=KILL:when=${point.when}` })
        if (hit) hits += 1
        await survived(story, folder)
      } catch (error) {
        throw new Error(`killed at ${point.call} ${point.when}, CRASH_SEED=${seed}`, { cause: error })
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, worker))
  t.diagnostic(`${points.length} points, ${hits} killed there, the others at the end; CRASH_SEED=${seed}`)
  assert(hits > points.length / 2, 'most points are reached')
}

test(
  'K01, N06: a server killed at any call has lost nothing that it promised, and what is asked again is done once',
  needsStrace,
  async (t) => {
    await using temporary = await temporaryFolder('memory')
    const points = await pointsOf(temporary.of('data'), temporary.of('trace'))
    await crashAt(sampled(points, pointsMax), t)
  },
)

test('N06: an acknowledgement that was done and not answered is known to the next session', {
  timeout: 60_000,
}, async () => {
  await using temporary = await temporaryFolder('memory')
  const story = new Story({ bobMissesAnAnswer: true })
  assert(!(await play(story, temporary.of('data'))).hit)
  await survived(story, temporary.of('data'))
})

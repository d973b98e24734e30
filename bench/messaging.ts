import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Child } from './children.ts'
import { Engine } from './engine.ts'
import { benchFolder, type Figure, fdatasyncMs, median, pairs, percentile, rounded } from './measure.ts'
import type { tasks as clientTasks } from './messaging-child.ts'
import type { tasks as serverTasks } from './serve-child.ts'

type Device = Child<typeof clientTasks>

const bytes = 300
const pairCount = 4
const sends = 2000
const lanes = 16
const waiting = 10_000
const lines = 200
const starts = 12
/** What is sealed for a text of so many bytes: header, signatures and padding around it. */
const content = new Uint8Array(1024)

/** The client as a whole: keys, store and network together, beside what the engine alone takes. */
export const messagingGroups = {
  'client.send': sending,
  'client.catch-up': catchingUp,
  'client.end-to-end': endToEnd,
  'client.start': starting,
}

async function* sending(): AsyncGenerator<Figure> {
  await using world = await BenchWorld.start()
  const { alice } = world
  await alice.ask('groups', lanes)
  const engine = await Engine.start()
  const cpu: number[] = []
  const ours = async (): Promise<number> => {
    const { perSecond, cpuUs } = await alice.ask('sendToGroups', { count: sends, bytes })
    cpu.push(cpuUs)
    return perSecond
  }
  const { ratio, ...rest } = await pairs(pairCount, ours, () =>
    perSecond(sends, async () => {
      await engine.seal(content)
    }),
  )
  const alone = await alice.ask('sealInMemory', { count: sends, bytes })
  const stored = await alice.ask('storeAlone', { count: sends })
  yield {
    name: 'client.send',
    value: rounded(ratio),
    unit: `messages sealed, stored, sent and answered/s over ${lanes} conversations ÷ sealed by the engine alone`,
    goal: 0.7,
    better: 'higher',
    beside: {
      perSecond: rest.ours,
      cpuUs: rounded(median(cpu)),
      enginePerSecond: rest.limit,
      spread: rest.spread,
      shareOfMls: rounded(rest.ours / alone),
      shareOfStore: rounded(rest.ours / stored),
    },
  }
}

async function* catchingUp(): AsyncGenerator<Figure> {
  await using world = await BenchWorld.start()
  const { alice, bob } = world
  const engine = await Engine.start()
  const cpu: number[] = []
  const ours = async (): Promise<number> => {
    await bob.ask('disconnect', undefined)
    await alice.ask('send', { to: 'bob', count: waiting, bytes })
    const { perSecond, cpuUs } = await bob.ask('catchUp', waiting)
    cpu.push(cpuUs)
    return 1 / perSecond
  }
  const limit = async (): Promise<number> => {
    const sealed: Uint8Array[] = []
    for (let i = 0; i < waiting; i++) sealed.push(await engine.seal(content))
    return 1 / (await perSecond(waiting, (i) => engine.open(sealed[i] ?? content)))
  }
  const { ratio, ...rest } = await pairs(pairCount, ours, limit)
  yield {
    name: 'client.catch-up-10k',
    value: rounded(ratio),
    unit: `time from the start of the session to the last of ${waiting} waiting messages shown ÷ the engine opening them in memory`,
    goal: 1.5,
    better: 'lower',
    beside: {
      perSecond: rounded(1 / rest.ours),
      cpuUs: rounded(median(cpu)),
      enginePerSecond: rounded(1 / rest.limit),
      spread: rest.spread,
    },
  }
}

/** From a line that is typed into one program to the line that another one prints. */
async function* endToEnd(): AsyncGenerator<Figure> {
  await using world = await BenchWorld.start()
  await world.alice.ask('disconnect', undefined)
  await world.bob.ask('disconnect', undefined)
  await using programs = new AsyncDisposableStack()
  const writer = programs.use(world.program(['chat', 'bob', '--json'], 'alice'))
  const reader = programs.use(world.program(['listen', '--json'], 'bob'))
  await reader.says('ready?', async () => writer.type('ready?'))
  const times: number[] = []
  for (let i = 0; i < lines; i++) {
    const start = performance.now()
    await reader.says(`line ${i}.`, async () => writer.type(`line ${i}.`))
    times.push(performance.now() - start)
  }
  const engine = await Engine.start()
  const keys = 1000 / (await perSecond(1000, async () => engine.open(await engine.seal(content))))
  const disk = fdatasyncMs(world.folder)
  yield {
    name: 'client.end-to-end',
    value: rounded(percentile(times, 0.5) / (2 * disk.p50 + keys)),
    unit: 'p50 from a line typed to the line shown, between two programs ÷ two fdatasync and the engine sealing and opening',
    goal: 3,
    better: 'lower',
    beside: {
      p50Ms: rounded(percentile(times, 0.5)),
      p99Ms: rounded(percentile(times, 0.99)),
      fdatasyncMs: rounded(disk.p50),
      engineMs: rounded(keys),
    },
  }
}

/** One command of the published program, as a script would run it. */
async function* starting(): AsyncGenerator<Figure> {
  await using world = await BenchWorld.start()
  await world.alice.ask('disconnect', undefined)
  const program = stage(world.folder)
  const ours = (): number => wall([program, 'send', 'bob', 'hello', ...world.profileOf('alice')])
  const bare = (): number => wall(['-e', '0'])
  const { ratio, ...rest } = await pairs(
    starts,
    async () => ours(),
    async () => bare(),
  )
  yield {
    name: 'client.start-send',
    value: rounded(ratio),
    unit: '`messageu send` of the published program, from its start to its end, against a warm server ÷ `node -e 0`',
    goal: 4,
    better: 'lower',
    beside: { ms: rest.ours, bareMs: rest.limit, spread: rest.spread },
  }
}

/** The packages as they are published, where nothing but what they name is found. */
function stage(folder: string): string {
  const staged = path.join(folder, 'staged')
  run(['scripts/stage.ts', staged])
  const scope = path.join(staged, 'node_modules/@messageu')
  mkdirSync(scope, { recursive: true })
  for (const name of ['protocol', 'e2ee', 'client', 'server'])
    symlinkSync(path.join(staged, name), path.join(scope, name))
  return path.join(staged, 'cli/bin/messageu.js')
}

function wall(args: readonly string[]): number {
  const start = performance.now()
  run(args)
  return performance.now() - start
}

function run(args: readonly string[]): void {
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}`)
}

/** `messageu` in a process of its own, with its input and output in hand. */
class Program implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #said = new Map<string, () => void>()

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, ['packages/cli/bin/messageu.js', ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    if (this.#child.stdout === null) throw new Error('a program without output')
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const { content } = JSON.parse(line) as { content?: { text?: string } }
      this.#said.get(content?.text ?? '')?.()
    })
  }

  type(line: string): void {
    this.#child.stdin?.write(`${line}\n`)
  }

  /** Resolves when the program prints a message with this text. */
  async says(text: string, first: () => Promise<void>): Promise<void> {
    const said = Promise.withResolvers<void>()
    this.#said.set(text, said.resolve)
    await first()
    await said.promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGTERM')
    await ended
  }
}

/** A server, and two people at it who know each other. */
class BenchWorld implements AsyncDisposable {
  readonly alice: Device
  readonly bob: Device
  readonly folder: string
  readonly #owned: AsyncDisposable

  private constructor(alice: Device, bob: Device, folder: string, owned: AsyncDisposable) {
    this.alice = alice
    this.bob = bob
    this.folder = folder
    this.#owned = owned
  }

  static async start(): Promise<BenchWorld> {
    await using starting = new AsyncDisposableStack()
    const folder = starting.use(await benchFolder())
    const server = starting.use(new Child<typeof serverTasks>('./serve-child.ts', ['--expose-gc']))
    const { port, serverKey } = await server.ask('open', { folder: path.join(folder.path, 'server'), flags: {} })
    const alice = starting.use(new Child<typeof clientTasks>('./messaging-child.ts'))
    const bob = starting.use(new Child<typeof clientTasks>('./messaging-child.ts'))
    for (const [name, device] of Object.entries({ alice, bob }))
      await device.ask('register', { port, serverKey, folder: path.join(folder.path, name), name })
    await alice.ask('send', { to: 'bob', count: 1, bytes })
    await bob.ask('accept', 'alice')
    return new BenchWorld(alice, bob, folder.path, starting.move())
  }

  program(args: readonly string[], profile: string): Program {
    return new Program([...args, ...this.profileOf(profile)])
  }

  profileOf(name: string): readonly string[] {
    return ['--data-dir', this.folder, '--profile', name]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]()
  }
}

async function perSecond(count: number, work: (i: number) => Promise<void>): Promise<number> {
  const start = performance.now()
  for (let i = 0; i < count; i++) await work(i)
  return (count / (performance.now() - start)) * 1000
}

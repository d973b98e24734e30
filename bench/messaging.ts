import path from 'node:path'
import { Child } from './children.ts'
import { pairOfDevices } from './e2ee.ts'
import { benchFolder, type Figure, median, pairs, rounded } from './measure.ts'
import type { tasks as clientTasks } from './messaging-child.ts'
import type { tasks as serverTasks } from './serve-child.ts'

type Device = Child<typeof clientTasks>

const bytes = 300
const pairCount = 4
const sends = 2000
const lanes = 16
const waiting = 10_000

/** The client as a whole: keys, store and network together, beside what the keys alone take. */
export async function* messagingFigures(): AsyncGenerator<Figure> {
  await using world = await BenchWorld.start()
  yield* sending(world)
  yield* catchingUp(world)
}

async function* sending({ alice }: BenchWorld): AsyncGenerator<Figure> {
  await alice.ask('groups', lanes)
  const to = Array.from({ length: lanes }, (_, i) => `#group ${i}`)
  const group = await pairOfDevices()
  const cpu: number[] = []
  const ours = async (): Promise<number> => {
    const { perSecond, cpuUs } = await alice.ask('send', { to, count: sends, bytes })
    cpu.push(cpuUs)
    return perSecond
  }
  const engine = (): Promise<number> =>
    perSecond(sends, async () => {
      await group.group.say(group.group.host, 'x'.repeat(bytes))
    })
  const { ratio, ...rest } = await pairs(pairCount, ours, engine)
  yield {
    name: 'client.send',
    value: rounded(ratio),
    unit: `messages sealed, stored, sent and answered/s over ${lanes} conversations ÷ sealed in memory`,
    goal: 0.7,
    better: 'higher',
    beside: { perSecond: rest.ours, cpuUs: rounded(median(cpu)), enginePerSecond: rest.limit, spread: rest.spread },
  }
}

async function* catchingUp({ alice, bob }: BenchWorld): AsyncGenerator<Figure> {
  const { group, guest } = await pairOfDevices()
  const cpu: number[] = []
  const ours = async (): Promise<number> => {
    await bob.ask('disconnect', undefined)
    await alice.ask('send', { to: ['bob'], count: waiting, bytes })
    const { perSecond, cpuUs } = await bob.ask('catchUp', waiting)
    cpu.push(cpuUs)
    return 1 / perSecond
  }
  const engine = async (): Promise<number> => {
    const sealed: Uint8Array[] = []
    for (let i = 0; i < waiting; i++) sealed.push(await group.say(group.host, 'x'.repeat(bytes)))
    return 1 / (await perSecond(waiting, async (i) => void (await group.hear(guest, sealed[i] ?? new Uint8Array()))))
  }
  const { ratio, ...rest } = await pairs(pairCount, ours, engine)
  yield {
    name: 'client.catch-up-10k',
    value: rounded(ratio),
    unit: `time for ${waiting} waiting messages, from the start of the session to the last one shown ÷ opening them in memory`,
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

/** A server, and two people at it who know each other. */
class BenchWorld implements AsyncDisposable {
  readonly alice: Device
  readonly bob: Device
  readonly #owned: AsyncDisposable

  private constructor(alice: Device, bob: Device, owned: AsyncDisposable) {
    this.alice = alice
    this.bob = bob
    this.#owned = owned
  }

  static async start(): Promise<BenchWorld> {
    await using starting = new AsyncDisposableStack()
    const folder = starting.use(await benchFolder())
    const server = starting.use(new Child<typeof serverTasks>('./serve-child.ts', ['--expose-gc']))
    const { port, serverKey } = await server.ask('open', { folder: path.join(folder.path, 'server'), flags: {} })
    const [alice, bob] = [
      new Child<typeof clientTasks>('./messaging-child.ts'),
      new Child<typeof clientTasks>('./messaging-child.ts'),
    ]
    starting.use(alice)
    starting.use(bob)
    for (const [name, device] of Object.entries({ alice, bob }))
      await device.ask('register', { port, serverKey, folder: path.join(folder.path, name), name })
    await alice.ask('send', { to: ['bob'], count: 1, bytes })
    await bob.ask('accept', 'alice')
    return new BenchWorld(alice, bob, starting.move())
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

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { issueCertificate } from '../packages/server/src/v3/certificate.ts'
import { Child } from './children.ts'
import { benchFolder, type Figure, fdatasyncMs, median, pairs, rounded } from './measure.ts'
import type { tasks as serverTasks } from './serve-child.ts'
import type { tasks as sessionTasks } from './session-child.ts'
import type { tasks as storageTasks } from './storage-child.ts'

type Server = Child<typeof serverTasks>
type Sessions = Child<typeof sessionTasks>

const pairCount = 6
const runMs = 1500
const connections = 64
const window = 32
const bodyBytes = 300
const kib = 1024

/** A server with somebody who asks it. */
interface Pair extends AsyncDisposable {
  readonly server: Server
  readonly sessions: Sessions
  readonly folder: string
}

interface Start {
  readonly flags?: Readonly<Record<string, string>>
  /** Accounts that are there already. */
  readonly accounts?: number
}

async function startPair({ flags = {}, accounts = 0 }: Start = {}): Promise<Pair> {
  const folder = await benchFolder()
  const server: Server = new Child('./serve-child.ts', ['--expose-gc'])
  const sessions: Sessions = new Child('./session-child.ts')
  if (accounts > 0) await server.ask('fillAccounts', { folder: folder.path, count: accounts })
  await sessions.ask('at', await server.ask('open', { folder: folder.path, flags }))
  return {
    server,
    sessions,
    folder: folder.path,
    async [Symbol.asyncDispose]() {
      await sessions[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** Version 3 over WebSocket, without TLS unless it is said, by the prefix of the figures' names. */
export const version3Groups = {
  'v3.accept': accepting,
  'v3.deliver': delivering,
  'v3.latency': latency,
  'v3.fan-out': fanOut,
  'v3.scale': scale,
  'v3.idle': sessionMemory,
  'v3.stalled': stalledReaders,
}

async function* accepting(): AsyncGenerator<Figure> {
  await using raw = new Child<typeof storageTasks>('./storage-child.ts')
  await using here = await startPair()
  const { server, sessions, folder } = here
  const limit = (): Promise<number> => raw.ask('raw', { folder, ms: runMs })
  const delays: number[] = []

  await sessions.ask('prepare', { name: 'offline', rooms: connections, readers: 1, online: false })
  let cpuUs = 0
  let sent = 0
  const accept = async (): Promise<number> => {
    await server.ask('loopDelay', undefined)
    const before = server.cpuUs()
    const { rate, count } = await sessions.ask('send', { rooms: 'offline', window, bytes: bodyBytes, ms: runMs })
    cpuUs += server.cpuUs() - before
    sent += count
    delays.push(await server.ask('loopDelay', undefined))
    return rate
  }
  const accepted = await pairs(pairCount, accept, limit)
  yield {
    name: 'v3.accept',
    value: rounded(accepted.ratio),
    unit: `accepted and durable messages/s, ${connections} sessions × ${window} in flight ÷ raw log-layout inserts/s`,
    goal: 0.6,
    better: 'higher',
    beside: {
      perSecond: accepted.ours,
      rawPerSecond: accepted.limit,
      cpuUsPerMessage: rounded(cpuUs / sent),
      spread: accepted.spread,
    },
  }
  const syncs = [1, 2, 3].map(() => fdatasyncMs(folder).p99)
  yield {
    name: 'v3.accept-loop-delay',
    value: rounded(median(delays) / median(syncs)),
    unit: 'event-loop delay p99 at that load ÷ fdatasync p99',
    goal: 5,
    better: 'lower',
    beside: { delayP99Ms: rounded(median(delays)), fdatasyncP99Ms: rounded(median(syncs)) },
  }
}

async function* delivering(): AsyncGenerator<Figure> {
  await using raw = new Child<typeof storageTasks>('./storage-child.ts')
  await using here = await startPair()
  const { sessions, folder } = here
  const limit = (): Promise<number> => raw.ask('raw', { folder, ms: runMs })
  await sessions.ask('prepare', { name: 'online', rooms: connections, readers: 1, online: true })
  await sessions.ask('read', 'online')
  const deliver = async (): Promise<number> => {
    await sessions.ask('delivered', undefined)
    const { rate, count } = await sessions.ask('send', { rooms: 'online', window, bytes: bodyBytes, ms: runMs })
    const missing = count - (await sessions.ask('delivered', undefined))
    // a message that is accepted but not yet delivered when the last answer comes is not counted
    return (rate * (count - Math.max(0, missing))) / count
  }
  const delivered = await pairs(pairCount, deliver, limit)
  yield {
    name: 'v3.deliver',
    value: rounded(delivered.ratio),
    unit: 'accepted, delivered and acknowledged messages/s ÷ raw log-layout inserts/s',
    goal: 0.4,
    better: 'higher',
    beside: { perSecond: delivered.ours, rawPerSecond: delivered.limit, spread: delivered.spread },
  }
}

async function* latency(): AsyncGenerator<Figure> {
  await using here = await startPair()
  const { sessions, folder } = here
  await sessions.ask('prepare', { name: 'pair', rooms: 1, readers: 1, online: true })
  await sessions.ask('read', 'pair')
  const shares: number[] = []
  const ack = async (): Promise<number> => {
    const times = await sessions.ask('pingPong', { rooms: 'pair', count: 10_000, bytes: bodyBytes })
    shares.push((times.delivery - times.ack) / times.ack)
    return times.ack
  }
  const { ratio, ours, limit, spread } = await pairs(pairCount, ack, async () => fdatasyncMs(folder, 4000).p50)
  yield {
    name: 'v3.latency-send',
    value: rounded(ratio),
    unit: 'one client: send to durable answer p50 ÷ fdatasync of 4 KiB p50',
    goal: 2,
    better: 'lower',
    beside: { ackMs: ours, fdatasyncMs: limit, spread },
  }
  yield {
    name: 'v3.latency-push',
    value: rounded(median(shares)),
    unit: '(delivery p50 − answer p50) ÷ answer p50',
    goal: 0.15,
    better: 'lower',
    beside: {},
  }
}

async function* fanOut(): AsyncGenerator<Figure> {
  const halfMs = runMs / 2 // nobody fetches: twice as long would be more messages than one server keeps waiting
  await using here = await startPair()
  const { server, sessions } = here
  const devices = 50
  await sessions.ask('prepare', { name: 'one', rooms: 8, readers: 1, online: false })
  await sessions.ask('prepare', { name: 'fifty', rooms: 8, readers: devices, online: false })
  const before = await server.ask('rows', undefined)
  let count = 0
  const run = (rooms: string) => async (): Promise<number> => {
    const sent = await sessions.ask('send', { rooms, window: 256, bytes: bodyBytes, ms: halfMs })
    count += sent.count
    return sent.rate
  }
  const { ratio, ours, limit, spread } = await pairs(pairCount, run('fifty'), run('one'))
  yield {
    name: 'v3.fan-out-50',
    value: rounded(ratio),
    unit: `accepted messages/s to ${devices} sleeping devices ÷ to one`,
    goal: 0.5,
    better: 'higher',
    beside: { fifty: ours, one: limit, spread },
  }
  yield {
    name: 'v3.fan-out-rows',
    value: rounded(((await server.ask('rows', undefined)) - before) / count),
    unit: 'rows in the table of messages for each accepted message',
    goal: 1,
    better: 'lower',
    beside: { messages: count },
  }
}

async function* scale(): AsyncGenerator<Figure> {
  await using small = await startPair({ accounts: 1000 })
  await using large = await startPair({ accounts: 1_000_000 })
  for (const { sessions } of [small, large])
    await sessions.ask('prepare', { name: 'rooms', rooms: 16, readers: 1, online: false })
  const cost =
    ({ server, sessions }: Pair) =>
    async (): Promise<number> => {
      const before = server.cpuUs()
      const { count } = await sessions.ask('send', { rooms: 'rooms', window, bytes: bodyBytes, ms: runMs })
      return (server.cpuUs() - before) / count
    }
  const accounts = await pairs(pairCount, cost(large), cost(small))
  yield {
    name: 'v3.scale-1M-accounts',
    value: rounded(accounts.ratio),
    unit: 'CPU per send with 1 M accounts ÷ with 1000',
    goal: 1.1,
    better: 'lower',
    beside: { cpuUs: accounts.ours, fewCpuUs: accounts.limit, spread: accounts.spread },
  }

  const { server, sessions } = small
  await sessions.ask('prepare', { name: 'deep', rooms: 1, readers: 1, online: false })
  await sessions.ask('prepare', { name: 'shallow', rooms: 1, readers: 1, online: false })
  await sessions.ask('fill', { rooms: 'deep', count: 100_000, bytes: bodyBytes })
  await sessions.ask('fill', { rooms: 'shallow', count: 10, bytes: bodyBytes })
  const costIn = (rooms: string) => async (): Promise<number> => {
    await sessions.ask('wake', rooms) // what waited is asked for from its front, what is sent now comes behind it
    const before = server.cpuUs()
    const { count } = await sessions.ask('exchange', { rooms, count: 10_000, bytes: bodyBytes })
    const spent = (server.cpuUs() - before) / count
    await sessions.ask('sleep', rooms)
    return spent
  }
  // what reads back runs seldom before: without this its compilation would count as depth
  for (let i = 0; i < 3; i++) for (const rooms of ['deep', 'shallow']) await costIn(rooms)()
  const depth = await pairs(pairCount, costIn('deep'), costIn('shallow'))
  yield {
    name: 'v3.scale-100k-mailbox',
    value: rounded(depth.ratio),
    unit: 'CPU for a message in and one out with 100 k waiting in the mailbox ÷ with 10',
    goal: 1.05,
    better: 'lower',
    beside: { cpuUs: depth.ours, shallowCpuUs: depth.limit, spread: depth.spread },
  }
}

async function* sessionMemory(): AsyncGenerator<Figure> {
  for (const { name, count, goal, flags } of [
    { name: 'v3.idle-session', count: 10_000, goal: 12, flags: {} },
    { name: 'v3.idle-session-tls', count: 2000, goal: 60, flags: await certificate() },
  ]) {
    await using here = await startPair({ flags })
    const { server, sessions } = here
    const atFirst = await server.ask('memory', undefined)
    await sessions.ask('makeIdle', count)
    await sessions.ask('idleBack', 200) // whatever is made once is made by now
    const before = await server.ask('memory', undefined)
    await sessions.ask('idleBack', count)
    const after = await server.ask('memory', undefined)
    const perSession = (after - before) / (count - 200) / kib
    yield {
      name,
      value: rounded(perSession),
      unit: 'KiB of resident memory for each idle session, proved',
      goal,
      better: 'lower',
      beside: {
        openAtOnce: await sessions.ask('openIdle', undefined),
        withAccountKib: rounded((after - atFirst) / count / kib),
      },
    }
  }
}

/** A certificate in files: on loopback the server would not make one of its own. */
async function certificate(): Promise<Readonly<Record<string, string>>> {
  const folder = path.resolve('dist')
  const [cert, key] = [path.join(folder, 'bench-cert.pem'), path.join(folder, 'bench-key.pem')]
  const { chain, privateKey } = issueCertificate({
    issuerKey: generateKeyPairSync('ed25519').privateKey,
    hosts: ['127.0.0.1'],
    now: new Date(),
    random: (count) => randomBytes(count),
  })
  await writeFile(cert, chain)
  await writeFile(key, privateKey, { mode: 0o600 })
  return { 'tls-cert': cert, 'tls-key': key, 'link-host': 'bench.example' } // the bench dials 127.0.0.1 all the same
}

async function* stalledReaders(): AsyncGenerator<Figure> {
  await using here = await startPair()
  const { server, sessions } = here
  const readers = 1000
  await sessions.ask('prepare', { name: 'with', rooms: 20, readers: 50, online: true })
  const load = { rooms: 'with', window: 8, bytes: 4096, ms: 4000 }
  await sessions.ask('read', 'with')
  await sessions.ask('send', load)
  const without = await server.ask('memory', undefined)
  await sessions.ask('stall', 'with')
  await sessions.ask('send', load)
  const stalled = await server.ask('memory', undefined)
  yield {
    name: 'v3.stalled-readers',
    value: rounded(stalled / without),
    unit: `resident memory with ${readers} readers that never read ÷ with the same ones reading`,
    goal: 1.2,
    better: 'lower',
    beside: { stalledMiB: rounded(stalled / kib / kib), readingMiB: rounded(without / kib / kib) },
  }
}

import { Gathering, type Guest, packagesOf } from './gathering.ts'
import { type Figure, median, pairs, rounded } from './measure.ts'

const text = 'x'.repeat(300)
const messages = 1000
const pairCount = 6
const sizes = [10, 50, 100, 200] as const
/** Each operation on a group is measured so many times, all from the same state; so many messages are. */
const rounds = 5
const messageRounds = 50
const kib = 1024

/** Conversations alone: in memory, without network or store. The engine's work, and what the wrapper adds. */
export async function* e2eeFigures(): AsyncGenerator<Figure> {
  yield* messageFigures()
  yield* groupFigures()
}

async function* messageFigures(): AsyncGenerator<Figure> {
  const bare = await bareMessages()
  const [writer, reader] = [await pairOfDevices(), await pairOfDevices()]
  let waiting: Uint8Array[] = []
  const seal = async (): Promise<void> => {
    for (let i = 0; i < messages; i++) await writer.group.say(writer.group.host, text)
  }
  const fill = async (): Promise<void> => {
    waiting = []
    for (let i = 0; i < messages; i++) waiting.push(await reader.group.say(reader.group.host, text))
  }
  const open = async (): Promise<void> => {
    for (const sealed of waiting) await reader.group.hear(reader.guest, sealed)
  }
  for (const { name, work, before, limit, unit } of [
    { name: 'e2ee.seal', work: seal, before: nothing, limit: bare.seal, unit: 'sealed/s ÷ two signatures and one' },
    { name: 'e2ee.open', work: open, before: fill, limit: bare.open, unit: 'opened/s ÷ two verifications and one' },
  ]) {
    const cpu: number[] = []
    const ours = async (): Promise<number> => {
      await before()
      const spent = await measured(work)
      cpu.push((spent.cpuMs / messages) * 1000)
      return (messages / spent.ms) * 1000
    }
    const { ratio, ...rest } = await pairs(pairCount, ours, async () => (messages / (await measured(limit)).ms) * 1000)
    yield {
      name,
      value: rounded(ratio),
      unit: `messages of ${text.length} B ${unit} AES-GCM by WebCrypto alone`,
      goal: 0.3,
      better: 'higher',
      beside: { perSecond: rest.ours, cpuUs: rounded(median(cpu)), barePerSecond: rest.limit, spread: rest.spread },
    }
  }
}

async function pairOfDevices(): Promise<{ group: Gathering; guest: Guest }> {
  const group = await Gathering.begin()
  const guest = await group.newGuest()
  await group.invite([guest])
  return { group, guest }
}

/** What a message cannot do without: its author's and its device's signature, and the encryption. */
async function bareMessages(): Promise<{ seal: () => Promise<void>; open: () => Promise<void> }> {
  const { subtle } = crypto
  const plain = new Uint8Array(1024) // as much as a message is with header, signatures and padding
  const pair = await subtle.generateKey('Ed25519', true, ['sign', 'verify'])
  if (!('privateKey' in pair)) throw new Error('one key where there should be two')
  const { privateKey, publicKey } = pair
  const signature = await subtle.sign('Ed25519', privateKey, plain)
  const key = await subtle.generateKey({ name: 'AES-GCM', length: 128 }, true, ['encrypt', 'decrypt'])
  const aes = { name: 'AES-GCM', iv: new Uint8Array(12) }
  const sealed = await subtle.encrypt(aes, key, plain)
  return {
    async seal() {
      for (let i = 0; i < messages; i++) {
        await subtle.sign('Ed25519', privateKey, plain)
        await subtle.sign('Ed25519', privateKey, plain)
        await subtle.encrypt(aes, key, plain)
      }
    },
    async open() {
      for (let i = 0; i < messages; i++) {
        await subtle.decrypt(aes, key, sealed)
        await subtle.verify('Ed25519', publicKey, signature, plain)
        await subtle.verify('Ed25519', publicKey, signature, plain)
      }
    },
  }
}

/** What one operation takes in a group of one size, and the bytes that it makes. */
interface Cost {
  readonly ms: number
  readonly bytes: Readonly<Record<string, number>>
}
type Costs = Readonly<Record<'add' | 'join' | 'remove' | 'update' | 'follow' | 'send' | 'open', Cost>>

/** A group whose members have all been at work: every commit here goes through a tree without large gaps. */
async function* groupFigures(): AsyncGenerator<Figure> {
  const group = await Gathering.begin()
  const atSize: Costs[] = []
  let members = 1
  let rewritten = 0
  for (const size of sizes) {
    let last: Guest = group.host
    while (members < size) {
      const guests = await Promise.all(Array.from({ length: Math.min(10, size - members) }, () => group.newGuest()))
      for (const guest of group.seats.keys()) if (guest !== group.host) group.seats.delete(guest)
      await group.invite(guests)
      last = guests.at(-1) ?? group.host
      await group.update(last)
      members += guests.length
    }
    atSize.push(await costs(group, last))
    rewritten = await rewrittenBytes(group)
  }
  const [first, ...others] = atSize
  const largest = others.at(-1)
  if (first === undefined || largest === undefined) throw new Error('nothing was measured')
  for (const operation of Object.keys(first) as (keyof Costs)[]) {
    const beside: Record<string, number> = {}
    for (const [i, size] of sizes.entries()) {
      const { ms, bytes } = atSize[i]?.[operation] ?? largest[operation]
      beside[`ms${size}`] = rounded(ms)
      for (const [of, count] of Object.entries(bytes)) beside[`${of}Bytes${size}`] = count
    }
    yield {
      name: `e2ee.group-${operation}`,
      value: rounded(largest[operation].ms / first[operation].ms),
      unit: `time in a group of ${sizes.at(-1)} devices ÷ in one of ${sizes[0]}`,
      goal: operation === 'send' || operation === 'open' ? 2 : 20, // a message does not depend on the tree
      better: 'lower',
      beside,
    }
  }
  yield {
    name: 'e2ee.rewritten-200',
    value: rounded(rewritten / kib),
    unit: `KiB of state that one message rewrites in a group of ${sizes.at(-1)} devices`,
    goal: 16,
    better: 'lower',
    beside: {},
  }
}

async function costs(group: Gathering, other: Guest): Promise<Costs> {
  const { host } = group
  const newcomer = await group.newGuest()
  const add = await timed(() => group.stage(host, { kind: 'add', keyPackages: packagesOf([newcomer]) }))
  const join = await timed(() => group.join(newcomer, add.result))
  const remove = await timed(() => group.stage(host, { kind: 'remove', devices: [other.self.device] }))
  const update = await timed(() => group.stage(host, { kind: 'update' }))
  const follow = await timed(() => group.follow(other, update.result))
  const waiting: Uint8Array[] = []
  const send = await timed(async () => waiting.push(await group.say(host, text)), messageRounds)
  const [sealed = 0] = waiting.map(({ length }) => length)
  const open = await timed(async () => group.hear(other, waiting.shift() ?? nothingLeft()), messageRounds)
  const { commit, welcomes, groupInfo, tree } = add.result
  return {
    add: {
      ms: add.ms,
      bytes: {
        commit: commit.length,
        welcome: welcomes[0]?.welcome.length ?? 0,
        groupInfo: groupInfo.length,
        tree: tree.length,
      },
    },
    join: { ms: join.ms, bytes: {} },
    remove: { ms: remove.ms, bytes: { commit: remove.result.commit.length } },
    update: { ms: update.ms, bytes: { commit: update.result.commit.length } },
    follow: { ms: follow.ms, bytes: {} },
    send: { ms: send.ms, bytes: { sealed } },
    open: { ms: open.ms, bytes: {} },
  }
}

/** The parts of the state that are other bytes after one message. */
async function rewrittenBytes(group: Gathering): Promise<number> {
  const before = group.state(group.host)
  await group.say(group.host, text)
  const after = group.state(group.host)
  const parts = [after.group, after.ratchets, after.earlier]
  return parts
    .filter((part) => ![before.group, before.ratchets, before.earlier].includes(part))
    .reduce((sum, { length }) => sum + length, 0)
}

async function timed<T>(work: () => Promise<T>, count = rounds): Promise<{ ms: number; result: T }> {
  let result = await work() // warm-up, not counted
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    result = await work()
    times.push(performance.now() - start)
  }
  return { ms: median(times), result }
}

async function measured(work: () => Promise<void>): Promise<{ ms: number; cpuMs: number }> {
  const before = process.cpuUsage()
  const start = performance.now()
  await work()
  const ms = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  return { ms, cpuMs: (user + system) / 1000 }
}

function nothingLeft(): never {
  throw new Error('more is opened than was sealed')
}

async function nothing(): Promise<void> {}

/** One device of version 3 as a program would be it: profile on the disk, MLS, a session. Reports what it did. */
import { Client, type Posted, register, systemClock, systemRandom } from '@messageu/client'
import { nodeTransport, openProfile, type Profile } from '@messageu/client/node'
import { newWords } from '@messageu/e2ee'
import { decode } from '@messageu/protocol'
import { type ConversationId, PublicKey } from '@messageu/protocol/v3'
import { serveTasks } from './children.ts'
import { Gathering } from './gathering.ts'

const world = { transport: nodeTransport(), clock: systemClock, random: systemRandom }
const { signal } = new AbortController()
let profile: Profile | undefined
let client: Client | undefined
let folder = ''
const groups: ConversationId[] = []

interface Spent {
  readonly perSecond: number
  readonly cpuUs: number
}

export const tasks = {
  /** A new account at the server. */
  async register({
    port,
    serverKey,
    folder: at,
    name,
  }: {
    port: number
    serverKey: string
    folder: string
    name: string
  }): Promise<void> {
    folder = at
    const key = decode(PublicKey, new Uint8Array(Buffer.from(serverKey, 'base64')))
    const link = { host: '127.0.0.1', port, serverKey: key, invite: undefined }
    {
      await using opened = await openProfile(folder)
      await register({ link, name, words: newWords(systemRandom), store: opened.store, world, signal })
    }
    await connect()
    await here().idle()
  },

  async disconnect(): Promise<void> {
    await client?.[Symbol.asyncDispose]()
    await profile?.[Symbol.asyncDispose]()
    client = undefined
  },

  /** Accepts whoever has begun a conversation, and looks at what is there. */
  async accept(name: string): Promise<void> {
    await here().caughtUp({ signal })
    await here().judge(name, 'accept', { signal })
    for await (const _ of here().arrivals({ signal, untilCaughtUp: true }));
  },

  async groups(count: number): Promise<void> {
    for (let i = 0; i < count; i++) groups.push((await here().createGroup(`group ${i}`, [], { signal })).conversation)
  },

  /** Sealed, stored, sent and answered, over all groups at once. */
  sendToGroups({ count, bytes }: { count: number; bytes: number }): Promise<Spent> {
    const body = { text: 'x'.repeat(bytes) }
    return spent(count, async () => {
      const posted: Promise<unknown>[] = []
      await Promise.all(
        groups.map(async (group) => {
          for (let i = 0; i < count / groups.length; i++) {
            const { outcome }: Posted = await here().postTo(group, { kind: 'text', body }, { signal })
            posted.push(outcome)
          }
        }),
      )
      await Promise.all(posted)
    })
  },

  send({ to, count, bytes }: { to: string; count: number; bytes: number }): Promise<Spent> {
    const body = { text: 'x'.repeat(bytes) }
    return spent(count, async () => {
      const posted: Promise<unknown>[] = []
      for (let i = 0; i < count; i++) posted.push((await here().post(to, { kind: 'text', body }, { signal })).outcome)
      await Promise.all(posted)
    })
  },

  /** The wrapper alone: sealed in memory, a second. */
  async sealInMemory({ count, bytes }: { count: number; bytes: number }): Promise<number> {
    const group = await Gathering.begin()
    const { perSecond } = await spent(count, async () => {
      for (let i = 0; i < count; i++) await group.say(group.host, 'x'.repeat(bytes))
    })
    return perSecond
  },

  /** The store alone: commits a second of the rows that sixteen messages and their answers write, by the message. */
  async storeAlone({ count }: { count: number }): Promise<number> {
    const store = profile?.store
    if (store === undefined) throw new Error('no profile')
    const value = new Uint8Array(1100)
    const { perSecond } = await spent(count, async () => {
      for (let i = 0; i < count; i += 16) {
        const rows = Array.from({ length: 16 * 6 }, (_, row) => ({ table: 'content', key: keyOf(row), value }) as const)
        await store.commit(rows, store.revision)
      }
    })
    return perSecond
  },

  /** Connects, and takes everything that waits: opened, stored, acknowledged and shown. */
  catchUp(count: number): Promise<Spent> {
    return spent(count, async () => {
      await connect()
      let shown = 0
      for await (const batch of here().arrivals({ signal, untilCaughtUp: true }))
        shown += batch.filter(({ kind }) => kind === 'message').length
      if (shown !== count) throw new Error(`${shown} messages were shown, not ${count}`)
    })
  },
}

async function connect(): Promise<void> {
  profile = await openProfile(folder)
  client = await Client.connect({ store: profile.store, world, signal })
}

function keyOf(row: number): Uint8Array {
  return Uint8Array.of(row >> 8, row & 255)
}

async function spent(count: number, work: () => Promise<void>): Promise<Spent> {
  const before = process.cpuUsage()
  const start = performance.now()
  await work()
  const ms = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  return { perSecond: (count / ms) * 1000, cpuUs: (user + system) / count }
}

function here(): Client {
  if (client === undefined) throw new Error('not connected')
  return client
}

serveTasks(tasks)

/** One device of version 3 as a program would be it: profile on the disk, MLS, a session. Reports what it did. */
import { Client, type Posted, register, systemClock, systemRandom } from '@messageu/client'
import { nodeTransport, openProfile, type Profile } from '@messageu/client/node'
import { newWords } from '@messageu/e2ee'
import { decode } from '@messageu/protocol'
import { PublicKey } from '@messageu/protocol/v3'
import { serveTasks } from './children.ts'

const world = { transport: nodeTransport(), clock: systemClock, random: systemRandom }
const { signal } = new AbortController()
let profile: Profile | undefined
let client: Client | undefined
let folder = ''

interface At {
  readonly port: number
  readonly serverKey: string
}

export const tasks = {
  /** A new account at the server. */
  async register({ port, serverKey, folder: at, name }: At & { folder: string; name: string }): Promise<void> {
    folder = at
    const key = decode(PublicKey, new Uint8Array(Buffer.from(serverKey, 'base64')))
    const link = { host: '127.0.0.1', port, serverKey: key, invite: undefined }
    {
      await using opened = await openProfile(folder)
      await register({ link, name, words: newWords(systemRandom), store: opened.store, world, signal })
    }
    await tasks.connect()
    await client?.idle()
  },

  async connect(): Promise<void> {
    profile = await openProfile(folder)
    client = await Client.connect({ store: profile.store, world, signal })
  },

  async disconnect(): Promise<void> {
    await client?.[Symbol.asyncDispose]()
    await profile?.[Symbol.asyncDispose]()
    client = undefined
  },

  async accept(name: string): Promise<void> {
    await here().caughtUp({ signal })
    await here().judge(name, 'accept', { signal })
  },

  /** Notes to oneself, so many conversations; the messages of each wait for the answer to the one before. */
  async groups(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await here().createGroup(`group ${i}`, [], { signal })
  },

  /** Messages a second, sealed, stored, sent and answered, over `lanes` conversations. */
  async send({ to, count, bytes }: { to: readonly string[]; count: number; bytes: number }): Promise<Spent> {
    const text = 'x'.repeat(bytes)
    return spent(count, async () => {
      const posted: Promise<unknown>[] = []
      await Promise.all(
        to.map(async (who) => {
          for (let i = 0; i < count / to.length; i++) {
            const { outcome }: Posted = await here().post(who, { kind: 'text', body: { text } }, { signal })
            posted.push(outcome)
          }
        }),
      )
      await Promise.all(posted)
    })
  },

  /** Connects, and takes everything that waits: opened, stored, acknowledged and shown. */
  async catchUp(count: number): Promise<Spent> {
    return spent(count, async () => {
      await tasks.connect()
      let shown = 0
      for await (const batch of here().arrivals({ signal, untilCaughtUp: true }))
        shown += batch.filter(({ kind }) => kind === 'message').length
      if (shown !== count) throw new Error(`${shown} messages were shown, not ${count}`)
    })
  },
}

interface Spent {
  readonly perSecond: number
  readonly cpuUs: number
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

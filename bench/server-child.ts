/** Our server in a process of its own, with a back door for filling mailboxes. */
import { randomBytes } from 'node:crypto'
import { type ClientId, nameFromText, type PublicKey } from '@messageu/protocol/v2'
import { randomIds } from '../packages/server/src/main.ts'
import { openSqlite } from '../packages/server/src/storage/sqlite.ts'
import type { Client } from '../packages/server/src/storage.ts'
import { listenV2 } from '../packages/server/src/v2/listener.ts'
import { serveTasks } from './children.ts'
import { loopDelayMeter, settled } from './measure.ts'

type Opened = Awaited<ReturnType<typeof open>>
let opened: Opened | undefined

async function open(folder: string) {
  const storage = await openSqlite({ folder, nowMs: Date.now, diskReserveShare: 0 })
  const listener = await listenV2({
    storage,
    host: '127.0.0.1',
    port: 0,
    log: { refused: ({ reason, why }) => console.error('refused:', reason, why), fetched() {} },
    nowMs: () => performance.now(),
    newClientId: randomIds(),
  })
  return { storage, listener, clients: [] as Client[] }
}

function here(): Opened {
  if (opened === undefined) throw new Error('the server is not open')
  return opened
}

export const tasks = {
  async open(folder: string): Promise<number> {
    opened = await open(folder)
    return opened.listener.address.port
  },

  /** Registers clients and returns their ids in hex. */
  async register(count: number): Promise<string[]> {
    const { storage, clients } = here()
    const batch = Array.from({ length: count }, async (_, i) => {
      const id = randomBytes(16) as Uint8Array as ClientId
      const publicKey = randomBytes(160) as Uint8Array as PublicKey
      const outcome = await storage.register({
        login: id,
        id,
        name: nameFromText(`bench ${clients.length + i}`),
        publicKey,
      })
      if (outcome.kind !== 'registered') throw new Error(outcome.kind)
      return outcome.client
    })
    const registered = await Promise.all(batch)
    clients.push(...registered)
    return registered.map(({ id }) => Buffer.from(id).toString('hex'))
  },

  /** Puts so many texts into the mailboxes of the clients from..to, in turn. */
  async fill({ count, from, to, bytes }: { count: number; from: number; to: number; bytes: number }): Promise<void> {
    const { storage, clients } = here()
    const content = Buffer.alloc(bytes, 7)
    let started = 0
    const lane = async (): Promise<void> => {
      while (started < count) {
        const recipient = clients[from + (started++ % (to - from))] as Client
        const reserved = storage.reserve(recipient, bytes)
        if (reserved.kind !== 'reserved') throw new Error(reserved.kind)
        using room = reserved.room
        await storage.accept({ sender: recipient, room, type: 'text', content })
      }
    }
    await Promise.all(Array.from({ length: 1024 }, lane))
  },

  loopDelay: loopDelayMeter(),

  /** Waits until the journal is folded away, as it is after a while of quiet. */
  settle: settled,

  waiting(): number {
    return here().storage.figures().waitingMessages
  },

  async close(): Promise<void> {
    await here().listener.stop(1000)
    await here().storage[Symbol.asyncDispose]()
  },
}

serveTasks(tasks)

/** Works on a storage until it is killed, and says after each step what it was told. */
import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { nameFromText, type PublicKey } from '@messageu/protocol/v2'
import type { Client } from '../../src/storage.ts'
import { openSqliteIn } from '../world.ts'
import { everything, positionsOf, randomFrom, send, sendFile, tell } from './world.ts'

export type CrashEvent =
  | { kind: 'accepted'; mailbox: number; position: number; digest: string }
  | { kind: 'discarding' | 'discarded'; mailbox: number; positions: number[] }

const [folder, seed] = process.argv.slice(2) as [string, string]
const random = randomFrom(Number(seed))
const say = (event: CrashEvent): void => tell(event)
const storage = await openSqliteIn(folder)

const clients: Client[] = []
for (let number = 1; number <= 4; number++) {
  const id = Buffer.alloc(16, number) as Uint8Array as Client['id']
  const publicKey = randomBytes(160) as Uint8Array as PublicKey
  const known = storage.clientByLogin(id)
  if (known === undefined) await storage.register({ login: id, id, name: nameFromText(`client ${number}`), publicKey })
  clients.push(storage.clientByLogin(id) as Client)
}

/** One mailbox is worked on by one lane at a time, as the listener sees to. */
async function lane(client: Client): Promise<never> {
  for (;;) {
    const dice = random.below(100)
    const mailbox = client.number
    if (dice < 92) {
      const content = randomBytes(dice < 88 ? random.below(2000) : 65_537 + random.below(100_000))
      const sent = await (dice < 88 ? send : sendFile)(storage, random.pick(clients), client, content)
      say({ kind: 'accepted', mailbox, position: sent.position, digest: String(crc32(content)) })
    } else {
      const fetched = storage.waiting(client, random.below(3) === 0 ? everything : 5000)
      const positions = positionsOf(fetched)
      say({ kind: 'discarding', mailbox, positions })
      await storage.discard(fetched)
      say({ kind: 'discarded', mailbox, positions })
    }
  }
}
await Promise.all(clients.flatMap((client) => [client, client, client]).map(lane))

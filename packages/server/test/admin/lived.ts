import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import type { Client, Storage } from '../../src/storage.ts'
import { openSqliteIn, registered } from '../world.ts'

/** Adds a message of random bytes; one of more than 64 KiB becomes a file. */
export async function give(storage: Storage, sender: Client, recipient: Client, bytes: number): Promise<void> {
  const reserved = storage.reserve(recipient, bytes)
  if (reserved.kind !== 'reserved') throw new Error(reserved.kind)
  using room = reserved.room
  if (bytes <= 65_536) {
    await storage.accept({ sender, room, type: 'text', content: randomBytes(bytes) })
    return
  }
  await using incoming = await storage.receive(bytes)
  incoming.write(randomBytes(bytes))
  await storage.accept({ sender, room, type: 'file', content: await incoming.finish() })
}

/** Fills a folder: two clients, small and large messages, some of them gone already. Four wait, one of them a file. */
export async function live(folder: string): Promise<void> {
  await using storage = await openSqliteIn(folder)
  const alice = await registered(storage, 'alice')
  const bob = await registered(storage, 'bob')
  for (const bytes of [100, 70_000, 200]) await give(storage, alice, bob, bytes)
  await storage.discard(storage.waiting(bob, 2 ** 32))
  for (const bytes of [100, 70_000, 3000]) await give(storage, alice, bob, bytes)
  await give(storage, bob, alice, 300)
}

/** The one content that waits in a folder that was lived in. */
export async function contentOf(folder: string): Promise<string> {
  const name = (await readdir(path.join(folder, 'content'))).find((each) => each !== 'incoming')
  if (name === undefined) throw new Error('a content waits')
  return path.join(folder, 'content', name)
}

import { randomBytes } from 'node:crypto'
import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import type { SendId } from '@messageu/protocol/v3'
import { type Archive, archiveLimits } from '../../src/archive.ts'
import type { Client, Storage } from '../../src/storage.ts'
import { numberKey } from '../../src/v3/numbers.ts'
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
  await liveOn(storage.archive)
  await give(storage, bob, alice, 300)
}

/** Adds something of everything that version 3 keeps, none of it a message that waits. */
async function liveOn(archive: Archive): Promise<void> {
  const box = archiveLimits.firstBox
  const sent = { device: 1, number: 1, conversation: 1, sequence: 1, digest: new Uint8Array(8) }
  const id = new Uint8Array(16) as SendId
  const { positions } = await archive.step({
    objects: [
      { kind: 'server', key: Buffer.from('incarnation'), value: new Uint8Array(16) },
      { kind: 'account', key: Buffer.from('alice'), value: Buffer.from('about alice') },
      { kind: 'keyPackage', key: numberKey(1, 0), value: Buffer.from('a last resort') },
      { kind: 'keyPackage', key: numberKey(1, 1), value: Buffer.from('what is used once') },
    ],
    messages: [{ box, id, content: new Uint8Array(70_000), sent }],
    acknowledged: { device: 2, through: 3 },
  })
  await archive.step({ trims: [{ box, through: positions[0] ?? 0 }] })
}

/** The one content that waits in a folder that was lived in. */
export async function contentOf(folder: string): Promise<string> {
  const name = (await readdir(path.join(folder, 'content'))).find((each) => each !== 'incoming')
  if (name === undefined) throw new Error('a content waits')
  return path.join(folder, 'content', name)
}

/** Makes one byte of a file another one, whatever it was. */
export async function changeByte(file: string, at: number): Promise<void> {
  await using handle = await open(file, 'r+')
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(1), 0, 1, at)
  if (bytesRead === 0) throw new Error(`${file} has no byte ${at}`)
  await handle.write(Buffer.of(buffer.readUInt8(0) ^ 0xff), 0, 1, at)
}

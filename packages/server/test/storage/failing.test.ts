import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import type { PublicKey } from '@messageu/protocol/v2'
import { nameFromText } from '@messageu/protocol/v2'
import { limits } from '../../src/limits.ts'
import type { Storage } from '../../src/storage.ts'
import { bytesOf, newId, openSqliteIn, registered, temporaryFolder } from '../world.ts'
import { everything, heard, pour, roomFor, send, sendFile } from './world.ts'

async function startStorage() {
  const folder = await temporaryFolder()
  const storage = await openSqliteIn(folder.path)
  const alice = await registered(storage, 'alice')
  /** Takes the write lock of the database, or a row's place, away from the storage. */
  const intruder = (): DatabaseSync => new DatabaseSync(path.join(folder.path, 'server.db'), { timeout: 5000 })
  return {
    folder: folder.path,
    storage,
    alice,
    intruder,
    async [Symbol.asyncDispose]() {
      await storage[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** Makes the next message collide with a row that nobody but the storage should have written. */
function collide(database: DatabaseSync, storage: Storage): void {
  const next = storage.figures().waitingMessages + 1
  database.prepare('INSERT INTO messages(position, at, digest, sealed) VALUES(?, 0, 0, zeroblob(25))').run(next)
  database.close()
}

suite('a storage that fails', () => {
  test('K11 a writer that dies rejects what waits and everything after, and says so', async () => {
    await using world = await startStorage()
    const { storage, alice } = world
    const before = await send(storage, alice, alice, 'durable')
    collide(world.intruder(), storage)
    const moreThanTheRing = Array.from({ length: 400 }, () => send(storage, alice, alice, randomBytes(65_536)))
    const outcomes = await Promise.allSettled(moreThanTheRing)
    assert(outcomes.every(({ status }) => status === 'rejected'))
    await assert.rejects(storage.failed, /UNIQUE/)
    await assert.rejects(send(storage, alice, alice, 'after'), /UNIQUE/)
    const fetched = storage.waiting(alice, everything)
    await assert.rejects(storage.discard(fetched), /UNIQUE/)
    assert.deepEqual(await bytesOf(storage, fetched), before.bytes, 'reads go on')
    await storage[Symbol.asyncDispose]()
    await using again = await openAgain(world.folder)
    assert.deepEqual(await heard(again, alice), before.bytes)
  })

  test('a large content whose message may or may not be durable is left for the next start to judge', async () => {
    await using world = await startStorage()
    const { storage, alice } = world
    collide(world.intruder(), storage)
    await assert.rejects(sendFile(storage, alice, alice, randomBytes(70_000)), /UNIQUE/)
    assert.deepEqual(readdirSync(path.join(world.folder, 'content')), ['1', 'incoming'])
    await storage[Symbol.asyncDispose]()
    await using _again = await openAgain(world.folder)
    assert.deepEqual(readdirSync(path.join(world.folder, 'content')), ['incoming'])
  })

  test('a database that is busy for a while holds everybody up, and loses nothing', async () => {
    await using world = await startStorage()
    const { storage, alice, intruder } = world
    const other = intruder()
    other.exec('BEGIN IMMEDIATE')
    const sending = Promise.all(Array.from({ length: 20 }, (_, i) => send(storage, alice, alice, `message ${i}`)))
    await new Promise((resolve) => setTimeout(resolve, 300))
    assert.equal(storage.waiting(alice, everything).positions.length, 0)
    other.exec('ROLLBACK')
    other.close()
    const sent = await sending
    assert.deepEqual(await heard(storage, alice), Buffer.concat(sent.map(({ bytes }) => bytes)))
  })

  test('I9 more than the ring and the queue hold is refused as busy, and the rest is stored', async () => {
    await using world = await startStorage()
    const { storage, alice, intruder } = world
    const other = intruder()
    other.exec('BEGIN IMMEDIATE')
    const content = randomBytes(65_536)
    const fitting = (limits.ringBytes + limits.queuedBytesMax) / 65_664
    const sending = Array.from({ length: 2000 }, () => send(storage, alice, alice, content))
    other.exec('ROLLBACK')
    other.close()
    const outcomes = await Promise.allSettled(sending)
    const stored = outcomes.filter(({ status }) => status === 'fulfilled').length
    assert(stored > fitting * 0.95 && stored < fitting + 100, `${stored} were stored`)
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') assert.equal((outcome.reason as { reason: string }).reason, 'busy')
    assert.equal(storage.waiting(alice, everything).positions.length, stored)
  })

  test('closing settles what waits for a place in the ring', async () => {
    await using world = await startStorage()
    const { storage, alice } = world
    const content = randomBytes(65_536)
    const sending = Array.from({ length: 400 }, () => send(storage, alice, alice, content))
    await storage[Symbol.asyncDispose]()
    assert((await Promise.allSettled(sending)).every(({ status }) => status === 'fulfilled'))
  })

  test('a clean end leaves no write-ahead log to the next start', async () => {
    await using world = await startStorage()
    const { storage, alice, folder } = world
    await send(storage, alice, alice, randomBytes(60_000))
    await heard(storage, alice)
    await storage[Symbol.asyncDispose]()
    assert.deepEqual(readdirSync(folder).sort(), ['content', 'lock', 'owner', 'server.db'])
  })

  test('a read that is under way when the storage closes is ended, and so is one that begins later', async () => {
    await using world = await startStorage()
    const { storage, alice, folder } = world
    for (let i = 0; i < 10; i++) await send(storage, alice, alice, randomBytes(60_000))
    await storage[Symbol.asyncDispose]()
    const again = await openSqliteIn(folder) // everything is cold now
    const fetched = again.waiting(alice, everything)
    const reading = bytesOf(again, fetched)
    const closing = again[Symbol.asyncDispose]()
    await assert.rejects(reading, { reason: 'stopping' })
    await assert.rejects(bytesOf(again, fetched), { reason: 'stopping' })
    await closing
  })

  test('a name whose registration failed is free again', async () => {
    await using world = await startStorage()
    const { storage, folder } = world
    const registration = {
      login: newId(),
      id: newId(),
      name: nameFromText('bob'),
      publicKey: randomBytes(160) as Uint8Array as PublicKey,
    }
    await storage[Symbol.asyncDispose]()
    await assert.rejects(storage.register(registration), { reason: 'stopping' })
    await assert.rejects(storage.register(registration), { reason: 'stopping' })
    await using again = await openSqliteIn(folder)
    assert.equal((await again.register(registration)).kind, 'registered')
  })

  test('a discard that is durable does not fail because a file cannot be removed', async () => {
    await using world = await startStorage()
    const { storage, alice, folder } = world
    await sendFile(storage, alice, alice, randomBytes(70_000))
    const fetched = storage.waiting(alice, everything)
    rmSync(path.join(folder, 'content', '1'))
    mkdirSync(path.join(folder, 'content', '1')) // nothing that can be unlinked
    await storage.discard(fetched)
    assert.equal(storage.waiting(alice, everything).positions.length, 0)
    rmSync(path.join(folder, 'content', '1'), { recursive: true })
  })

  test('a discard goes through although what is stored of a message has been damaged since', async () => {
    await using world = await startStorage()
    const { storage, alice, intruder } = world
    await sendFile(storage, alice, alice, randomBytes(70_000))
    await send(storage, alice, alice, 'small')
    const fetched = storage.waiting(alice, everything)
    await bytesOf(storage, fetched)
    const other = intruder()
    other.exec('UPDATE messages SET digest = 0')
    other.close()
    await storage.discard(fetched)
    assert.equal(storage.waiting(alice, everything).positions.length, 0)
  })

  test('C10 a content whose upload was finished, but not accepted, is gone with its upload', async () => {
    await using world = await startStorage()
    const { storage, folder } = world
    {
      await using incoming = await storage.receive(70_000)
      await pour(incoming, randomBytes(70_000))
      await incoming.finish()
      assert.deepEqual(readdirSync(path.join(folder, 'content')), ['1', 'incoming'])
    }
    assert.deepEqual(readdirSync(path.join(folder, 'content')), ['incoming'])
  })

  test('a content lies in a file if it is large, and only then', async () => {
    await using world = await startStorage()
    const { storage, alice } = world
    using room = roomFor(storage, alice, 70_000)
    const content = randomBytes(65_537)
    await assert.rejects(storage.accept({ sender: alice, room, type: 'file', content }), /lie in files/)
    await using incoming = await storage.receive(65_536)
    await pour(incoming, content.subarray(1))
    const stored = await incoming.finish()
    await assert.rejects(storage.accept({ sender: alice, room, type: 'file', content: stored }), /lie in files/)
  })
})

function openAgain(folder: string): Promise<Storage> {
  const database = new DatabaseSync(path.join(folder, 'server.db'))
  database.exec('DELETE FROM messages WHERE length(sealed) = 25 AND digest = 0') // the intruder's
  database.close()
  return openSqliteIn(folder)
}

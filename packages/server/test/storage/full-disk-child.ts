/** What happens on a disk that is full; the disk is the first argument. Ends with an error if it is not as it should. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, readdirSync, rmSync, statfsSync, writeSync } from 'node:fs'
import path from 'node:path'
import { ProtocolError } from '@messageu/protocol'
import type { PublicKey } from '@messageu/protocol/v2'
import { nameFromText } from '@messageu/protocol/v2'
import type { Client, Storage } from '../../src/storage.ts'
import { newId, openSqliteIn, registered } from '../world.ts'
import { allOf, box, sent, text } from './archiveworld.ts'
import { everything, heard, roomFor, type Sent, send, sendFile, taken } from './world.ts'

const [disk, scenario] = process.argv.slice(2) as [string, string]
const folder = path.join(disk, 'data')
const ballast = path.join(disk, 'ballast')
const full = { name: 'ProtocolError', reason: 'storage-full' }

/** The disk looks empty to the watermark: it is the second line of defence that is tried here. */
const open = (): Promise<Storage> =>
  openSqliteIn(folder, { freeSpace: async () => ({ freeBytes: 2 ** 40, totalBytes: 2 ** 40 }) })

/** Fills the disk up to `leaving` bytes. */
function fill(leaving: number): void {
  const file = openSync(ballast, 'w')
  const { bavail, bsize } = statfsSync(disk)
  writeSync(file, Buffer.alloc(Math.max(0, bavail * bsize - leaving)))
  closeSync(file)
}

const makeSpace = (): void => rmSync(ballast)

/** Registers clients, for whom there may be room in what the log has taken up already, until one is refused. */
async function firstRefused(storage: Storage): Promise<Omit<Client, 'number'>> {
  for (let i = 0; ; i++) {
    const publicKey = randomBytes(160) as Uint8Array as PublicKey
    const client = { login: newId(), id: newId(), name: nameFromText(`client ${i}`), publicKey }
    const outcome = await storage.register(client).catch((error: unknown) => error)
    if (outcome instanceof ProtocolError) {
      assert.equal(outcome.reason, 'storage-full')
      return client
    }
  }
}

const scenarios: Record<string, () => Promise<void>> = {
  async messages() {
    const storage = await open()
    const alice = await registered(storage, 'alice')
    const accepted: Sent[] = []
    for (let i = 0; i < 20; i++) accepted.push(await send(storage, alice, alice, randomBytes(10_000)))
    fill(200_000)
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, () => send(storage, alice, alice, randomBytes(10_000))),
    )
    for (const outcome of outcomes)
      if (outcome.status === 'fulfilled') accepted.push(outcome.value)
      else assert.equal(outcome.reason.reason, 'storage-full')
    assert(accepted.length < 60)
    const whole = (): Buffer => Buffer.concat(accepted.map(({ bytes }) => bytes))
    assert((await heard(storage, alice)).equals(whole()), 'reads go on, and nothing is there that was refused')

    fill(0)
    const more = await Promise.allSettled(
      Array.from({ length: 50 }, () => send(storage, alice, alice, randomBytes(60_000))),
    )
    for (const outcome of more) if (outcome.status === 'fulfilled') accepted.push(outcome.value)
    assert(more.some(({ status }) => status === 'rejected'))
    const bob = await firstRefused(storage)
    assert.equal(storage.clientById(bob.id), undefined)
    const { clients } = storage.figures()
    const emptied = await storage.discard(storage.waiting(alice, everything)).then(
      () => true, // a page or two may be left in the log
      (error: ProtocolError) => error.reason !== 'storage-full',
    )
    if (emptied) accepted.splice(0)
    assert((await heard(storage, alice)).equals(whole()))

    makeSpace()
    accepted.push(await send(storage, alice, alice, 'there is space again'))
    assert.equal((await storage.register(bob)).kind, 'registered')
    assert((await taken(storage, alice)).equals(whole()))
    const last = await send(storage, alice, alice, 'the last')
    await storage[Symbol.asyncDispose]()

    const again = await open()
    assert((await heard(again, alice)).equals(last.bytes))
    assert.equal(again.figures().clients, clients + 1)
    await again[Symbol.asyncDispose]()
  },

  async contents() {
    const storage = await open()
    const alice = await registered(storage, 'alice')
    const { bytes } = await sendFile(storage, alice, alice, randomBytes(100_000))
    fill(300_000)
    for (const size of [400_000, 4_000_000]) {
      await assert.rejects(sendFile(storage, alice, alice, randomBytes(size)), full)
      assert.deepEqual(readdirSync(path.join(folder, 'content')), ['1', 'incoming'])
      assert.deepEqual(readdirSync(path.join(folder, 'content', 'incoming')), [])
    }
    // the content fits, but its message does not
    const room = roomFor(storage, alice, 100_000)
    const incoming = await storage.receive(100_000)
    incoming.write(randomBytes(100_000))
    const content = await incoming.finish()
    fill(0)
    await assert.rejects(storage.accept({ sender: alice, room, type: 'file', content }), full)
    assert.deepEqual(readdirSync(path.join(folder, 'content')), ['1', 'incoming'])
    await incoming[Symbol.asyncDispose]()
    room[Symbol.dispose]()
    await assert.rejects(
      storage
        .receive(100_000)
        .then((file) => file[Symbol.asyncDispose]())
        .then(() => sendFile(storage, alice, alice, randomBytes(100_000))),
      full,
    )
    assert((await heard(storage, alice)).equals(bytes))

    makeSpace()
    const more = await sendFile(storage, alice, alice, randomBytes(1_000_000))
    assert((await taken(storage, alice)).equals(Buffer.concat([bytes, more.bytes])))
    assert.deepEqual(readdirSync(path.join(folder, 'content')), ['incoming'])
    await storage[Symbol.asyncDispose]()
  },

  async archive() {
    const storage = await open()
    const { archive } = storage
    let accepted = 0
    /** Steps that build on each other: as many at once as are asked for. */
    const run = async (count: number, bytes: number): Promise<void> => {
      const stepping = Array.from({ length: count }, (_, i) => {
        const number = accepted + 1 + i
        const objects = [{ kind: 'account' as const, key: text('count'), value: text(String(number)) }]
        return archive.step({ objects, messages: [sent(box(0), 1, number, randomBytes(bytes))] })
      })
      const outcomes = await Promise.allSettled(stepping)
      const refused = outcomes.findIndex(({ status }) => status === 'rejected')
      assert(
        outcomes.slice(refused).every(({ status }) => refused === -1 || status === 'rejected'),
        'nothing came behind',
      )
      for (const outcome of outcomes)
        if (outcome.status === 'rejected') assert.equal(outcome.reason.reason, 'storage-full')
      accepted += refused === -1 ? count : refused
    }
    const verify = async ({ archive }: Storage): Promise<void> => {
      const count = await archive.get('account', text('count'))
      assert.equal(Buffer.from(count ?? '').toString(), String(accepted))
      assert.equal((await archive.sends(1)).highest, accepted)
      const read = await archive.read(allOf(archive.reader(box(0), 0)))
      assert.equal(read.filter((each) => each !== undefined).length, accepted)
      const large = read.filter((each) => (each?.content.length ?? 0) > 65_536).length
      assert.equal(readdirSync(path.join(folder, 'content')).length, large + 1)
      assert.deepEqual(readdirSync(path.join(folder, 'content', 'incoming')), [])
    }
    await run(20, 10_000)
    fill(200_000)
    await run(100, 10_000)
    assert(accepted < 60)
    await verify(storage)
    fill(0)
    for (let i = 0; i < 30; i++) await run(10, 10_000 + 200 * i)
    await run(3, 200_000)
    await verify(storage)
    makeSpace()
    const before = accepted
    await run(5, 10_000)
    await run(2, 100_000)
    assert.equal(accepted, before + 7)
    await verify(storage)
    await storage[Symbol.asyncDispose]()
    const again = await open()
    await verify(again)
    await again[Symbol.asyncDispose]()
  },

  async start() {
    const first = await open()
    const alice = await registered(first, 'alice')
    const { bytes } = await send(first, alice, alice, 'hello')
    await first[Symbol.asyncDispose]()
    fill(0)
    await assert.rejects(
      open(),
      (error: Error) => error.name !== 'DamagedStorage' && /full|space|I\/O/.test(error.message),
    )
    makeSpace()
    const again = await open()
    assert((await heard(again, alice)).equals(bytes))
    await again[Symbol.asyncDispose]()
  },
}

await scenarios[scenario]?.()
process.exit(0)

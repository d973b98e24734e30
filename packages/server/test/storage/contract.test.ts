import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { encode } from '@messageu/protocol'
import { Listed, type Name, nameFromText, type PublicKey } from '@messageu/protocol/v2'
import type { Client, Registered, SmallMessage, Storage } from '../../src/storage.ts'
import { bytesOf, newId, registered, temporaryFolder } from '../world.ts'
import {
  delivered,
  everything,
  heard,
  kinds,
  positionsOf,
  pour,
  roomFor,
  send,
  sendFile,
  taken,
  type Wishes,
} from './world.ts'

const publicKey = randomBytes(160) as Uint8Array as PublicKey
const registration = (name: Name) => ({ login: newId(), id: newId(), name, publicKey })

/** A storage with Alice and Bob in it. */
interface World extends AsyncDisposable {
  readonly storage: Storage
  readonly alice: Client
  readonly bob: Client
}

for (const [kind, open] of Object.entries(kinds)) {
  async function start(wishes: Wishes = {}): Promise<World> {
    const folder = await temporaryFolder()
    const storage = await open(folder.path, wishes)
    const alice = await registered(storage, 'alice')
    const bob = await registered(storage, 'bob')
    return {
      storage,
      alice,
      bob,
      async [Symbol.asyncDispose]() {
        await storage[Symbol.asyncDispose]()
        await folder[Symbol.asyncDispose]()
      },
    }
  }

  suite(`storage on ${kind}`, () => {
    test('a client is known by its login, by its id, and not by anything else', async () => {
      await using world = await start()
      const { storage } = world
      const outcome = await storage.register(registration(nameFromText('carol')))
      assert(outcome.kind === 'registered')
      const { client } = outcome
      assert.deepEqual(storage.clientByLogin(client.login), client)
      assert.deepEqual(storage.clientById(client.id), client)
      assert.equal(storage.clientByLogin(client.id), undefined, 'G02 the published id is no login')
      assert.equal(storage.clientById(client.login), undefined, 'G02 the login is not published')
      assert.equal(storage.clientById(newId()), undefined)
    })

    test('a client is neither known nor listed before its registration is durable', async () => {
      await using world = await start()
      const { storage, alice } = world
      const carol = registration(nameFromText('carol'))
      const before = Buffer.concat(storage.listing(alice))
      const registering = storage.register(carol)
      assert.equal(storage.clientById(carol.id), undefined)
      assert.equal(storage.clientByLogin(carol.login), undefined)
      assert.deepEqual(Buffer.concat(storage.listing(alice)), before)
      await registering
      assert.notEqual(storage.clientById(carol.id), undefined)
    })

    test('a name is given once, also when two ask at the same time', async () => {
      await using world = await start()
      const { storage } = world
      assert.equal((await storage.register(registration(nameFromText('alice')))).kind, 'name-taken')
      const race = await Promise.all([1, 2, 3].map(() => storage.register(registration(nameFromText('carol')))))
      assert.deepEqual(race.map(({ kind }) => kind).sort(), ['name-taken', 'name-taken', 'registered'])
    })

    test('names are the same when their bytes are the same', async () => {
      await using world = await start()
      const { storage } = world
      const names = ['Zoe\u0301', 'Zo\u00e9', 'zo\u00e9', 'zo\u00e9 ', '\uff5ao\u00e9']
      for (const name of names)
        assert.equal((await storage.register(registration(nameFromText(name)))).kind, 'registered', name)
      for (const name of names)
        assert.equal((await storage.register(registration(nameFromText(name)))).kind, 'name-taken', name)
    })

    test('C14 names are stored as they are, whatever they look like', async () => {
      await using world = await start()
      const { storage, alice } = world
      const names = ["'); DROP TABLE clients;--", '../../etc/passwd', '%2e%2e%2f', 'line\nbreak', 'CON', '__proto__']
      const longest = 'ÿ'.repeat(127)
      for (const name of [...names, longest]) await registered(storage, name)
      const listed = Buffer.concat(storage.listing(alice))
      for (const name of [...names, longest]) assert(listed.includes(Buffer.from(name)), name)
      assert.equal(listed.length, (names.length + 2) * Listed.max)
    })

    test('I9 no more clients than the limit, also when many ask at the same time', async () => {
      await using world = await start({ limits: { clientsMax: 5 } })
      const { storage } = world
      const names = Array.from({ length: 10 }, (_, i) => nameFromText(`client ${i}`))
      const outcomes = await Promise.all(names.map((name) => storage.register(registration(name))))
      assert.equal(outcomes.filter(({ kind }) => kind === 'registered').length, 3)
      assert.equal(outcomes.filter(({ kind }) => kind === 'directory-full').length, 7)
      assert.equal(storage.figures().clients, 5)
    })

    test('the list holds everybody but the asker, in order of registration', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const others: Client[] = []
      for (let i = 0; i < 2100; i += 100)
        others.push(
          ...(await Promise.all(Array.from({ length: 100 }, (_, n) => registered(storage, `client ${i + n}`)))),
        )
      const all = [alice, bob, ...others].sort((one, other) => one.number - other.number)
      for (const asker of [alice, bob, others[1021], others[1022], others[1023], others.at(-1)] as Client[]) {
        const expected = all.filter((client) => client !== asker)
        assert.deepEqual(Buffer.concat(storage.listing(asker)), listingOf(expected))
      }
    })

    test('a list that was handed out does not change when somebody registers', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const views = storage.listing(alice)
      await registered(storage, 'carol')
      assert.deepEqual(Buffer.concat(views), listingOf([bob]))
    })

    test('messages wait in the order in which they were accepted, each as its recipient will get it', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const one = await send(storage, alice, bob, 'one')
      await send(storage, bob, alice, 'for somebody else')
      const two = await send(storage, bob, bob, 'two', 'key')
      assert.deepEqual(await heard(storage, bob), Buffer.concat([one.bytes, two.bytes]))
      assert(two.position > one.position)
    })

    test('accepted at the same time, messages keep the order of the calls', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const sent = await Promise.all(Array.from({ length: 500 }, (_, i) => send(storage, alice, bob, `message ${i}`)))
      assert.deepEqual(await heard(storage, bob), Buffer.concat(sent.map(({ bytes }) => bytes)))
      assert.deepEqual(
        positionsOf(storage.waiting(bob, everything)),
        sent.map(({ position }) => position),
      )
    })

    test('a message is not there before it is durable', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const sending = send(storage, alice, bob, 'hello')
      assert.equal(storage.waiting(bob, everything).positions.length, 0)
      await sending
      assert.equal(storage.waiting(bob, everything).positions.length, 1)
    })

    test('contents of every size come back byte for byte', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const expected: Buffer[] = []
      for (const bytes of [0, 1, 24, 65_535, 65_536])
        expected.push((await send(storage, alice, bob, randomBytes(bytes))).bytes)
      for (const bytes of [65_537, 5_000_000, 2 ** 20, 65_537, 200_001]) {
        expected.push((await sendFile(storage, alice, bob, randomBytes(bytes))).bytes)
        expected.push((await send(storage, alice, bob, 'and something small in between')).bytes)
      }
      assert((await heard(storage, bob)).equals(Buffer.concat(expected)))
      assert.equal(storage.waiting(bob, everything).bytes, Buffer.concat(expected).length)
    })

    test('large contents that come at the same time do not mix', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const sent = await Promise.all(
        Array.from({ length: 20 }, (_, i) => sendFile(storage, alice, bob, randomBytes(65_537 + i * 30_011))),
      )
      sent.sort((one, other) => one.position - other.position)
      assert((await heard(storage, bob)).equals(Buffer.concat(sent.map(({ bytes }) => bytes))))
    })

    test('a content that arrives in pieces of any size is the same content', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const content = randomBytes(300_000)
      await using incoming = await storage.receive(content.length)
      await pour(incoming, content.subarray(0, 3000), 1)
      await pour(incoming, content.subarray(3000), 1460)
      using room = roomFor(storage, bob, content.length)
      await storage.accept({ sender: alice, room, type: 'file', content: await incoming.finish() })
      assert((await heard(storage, bob)).subarray(25).equals(content))
    })

    test('the pieces of a content are released once each, and may be used again from then on', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const content = randomBytes(5_000_000)
      const pieces = Array.from({ length: 50 }, (_, i) =>
        Uint8Array.from(content.subarray(i * 100_000, (i + 1) * 100_000)),
      )
      const released: Uint8Array[] = []
      await using incoming = await storage.receive(content.length, (piece) => {
        released.push(piece)
        piece.fill(0)
      })
      for (const piece of pieces) if (!incoming.write(piece)) await incoming.room()
      const stored = await incoming.finish()
      assert.equal(released.length, pieces.length)
      assert.deepEqual(new Set(released), new Set(pieces))
      using room = roomFor(storage, bob, content.length)
      await storage.accept({ sender: alice, room, type: 'file', content: stored })
      assert((await heard(storage, bob)).subarray(25).equals(content))
    })

    test('a stored content belongs to one message', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      await using incoming = await storage.receive(70_000)
      await pour(incoming, randomBytes(70_000))
      const content = await incoming.finish()
      using room = roomFor(storage, bob, 70_000)
      await storage.accept({ sender: alice, room, type: 'file', content })
      await assert.rejects(storage.accept({ sender: alice, room, type: 'file', content }), /belongs to one message/)
    })

    test('a fetch takes whole messages up to the limit, and one at least', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      for (const bytes of [100, 100, 100]) await send(storage, alice, bob, randomBytes(bytes - 25))
      const positions = positionsOf(storage.waiting(bob, everything))
      for (const [bytesMax, count] of [
        [0, 1],
        [99, 1],
        [100, 1],
        [199, 1],
        [200, 2],
        [299, 2],
        [300, 3],
      ] as const) {
        const fetched = storage.waiting(bob, bytesMax)
        assert.deepEqual(positionsOf(fetched), positions.slice(0, count), `${bytesMax} bytes`)
        assert.equal(fetched.bytes, count * 100)
        assert.deepEqual([...fetched.sizes], Array(count).fill(100))
        assert.equal((await bytesOf(storage, fetched)).length, count * 100)
      }
      assert.equal(storage.waiting(alice, everything).positions.length, 0)
    })

    test('a discard forgets what was fetched, and only that', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      await send(storage, alice, bob, 'one')
      await send(storage, alice, alice, 'to myself')
      const fetched = storage.waiting(bob, everything)
      const late = await send(storage, alice, bob, 'arrived during the fetch')
      await storage.discard(fetched)
      assert.deepEqual(await heard(storage, bob), late.bytes)
      assert.equal(storage.waiting(alice, everything).positions.length, 1)
      assert.equal(storage.figures().waitingMessages, 2)
    })

    test('repeating a discard changes nothing, nor does discarding less after more', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      await send(storage, alice, bob, 'one')
      await sendFile(storage, alice, bob, randomBytes(70_000))
      const less = storage.waiting(bob, 0)
      const more = storage.waiting(bob, everything)
      await Promise.all([storage.discard(more), storage.discard(more), storage.discard(less)])
      const late = await send(storage, alice, bob, 'two')
      await storage.discard(more)
      await storage.discard(less)
      assert.deepEqual(await heard(storage, bob), late.bytes)
    })

    test('discarding an empty fetch changes nothing', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const nothing = storage.waiting(bob, everything)
      const { bytes } = await send(storage, alice, bob, 'one')
      await storage.discard(nothing)
      assert.deepEqual(await heard(storage, bob), bytes)
    })

    test('positions only grow, also after a discard', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      let last = 0
      for (let i = 0; i < 5; i++) {
        const { position } = await send(storage, alice, bob, 'hello')
        assert(position > last)
        last = position
        await taken(storage, bob)
      }
    })

    for (const turns of [1, 2])
      test(`G07 message ids begin again at 1 after ${turns} times 2^32 messages, and the order stays`, async () => {
        await using world = await start({ position: turns * 2 ** 32 - 3 })
        const { storage, alice, bob } = world
        const sent = []
        for (let i = 0; i < 5; i++) sent.push(await send(storage, alice, bob, `message ${i}`))
        const got = await heard(storage, bob)
        assert.deepEqual(got, Buffer.concat(sent.map(({ bytes }) => bytes)))
        const ids = sent.map((_, i) => got.readUInt32LE(i * (25 + 9) + 16))
        assert.deepEqual(ids, [2 ** 32 - 2, 2 ** 32 - 1, 1, 2, 3])
        await taken(storage, bob)
        assert.equal(storage.figures().waitingMessages, 0)
      })

    test('a quota counts what waits and what was promised, and gets back what was not used', async () => {
      await using world = await start({ limits: { mailboxBytesMax: 1000 } })
      const { storage, alice, bob } = world
      await send(storage, alice, bob, randomBytes(475))
      const room = roomFor(storage, bob, 475)
      assert.equal(storage.reserve(bob, 0).kind, 'mailbox-full')
      roomFor(storage, alice, 475)[Symbol.dispose]() // every mailbox has its own
      room[Symbol.dispose]()
      room[Symbol.dispose]()
      assert.equal(storage.reserve(bob, 476).kind, 'mailbox-full')
      await send(storage, alice, bob, randomBytes(475))
      assert.equal(storage.reserve(bob, 0).kind, 'mailbox-full')
      await taken(storage, bob)
      roomFor(storage, bob, 975)[Symbol.dispose]()
    })

    test('I9 a mailbox holds no more messages than its limit, promised ones included', async () => {
      await using world = await start({ limits: { mailboxMessagesMax: 3 } })
      const { storage, alice, bob } = world
      await send(storage, alice, bob, '')
      const rooms = [roomFor(storage, bob, 0), roomFor(storage, bob, 0)]
      assert.equal(storage.reserve(bob, 0).kind, 'mailbox-full')
      for (const room of rooms) room[Symbol.dispose]()
      roomFor(storage, bob, 0)[Symbol.dispose]()
    })

    test('I9 all mailboxes together hold no more messages than the limit', async () => {
      await using world = await start({ limits: { waitingMessagesMax: 3 } })
      const { storage, alice, bob } = world
      await send(storage, alice, bob, '')
      await send(storage, alice, alice, '')
      const room = roomFor(storage, bob, 0)
      assert.equal(storage.reserve(alice, 0).kind, 'storage-full')
      room[Symbol.dispose]()
      await taken(storage, bob)
      roomFor(storage, alice, 0)[Symbol.dispose]()
    })

    test('C10 a disk that is nearly full takes nothing new, and fetches go on', async () => {
      let hasRoom = true
      await using world = await start({ diskHasRoom: () => hasRoom })
      const { storage, alice, bob } = world
      const { bytes } = await send(storage, alice, bob, 'before')
      hasRoom = false
      await eventually(() => storage.reserve(bob, 1).kind === 'storage-full')
      assert.deepEqual(await taken(storage, bob), bytes)
      hasRoom = true
      await eventually(() => {
        const reserved = storage.reserve(bob, 1)
        if (reserved.kind === 'reserved') reserved.room[Symbol.dispose]()
        return reserved.kind === 'reserved'
      })
      await send(storage, alice, bob, 'after')
    })

    test('C10 an upload that is given up leaves nothing behind', async () => {
      await using world = await start({ limits: { mailboxBytesMax: 200_000 } })
      const { storage, alice, bob } = world
      {
        using _room = roomFor(storage, bob, 150_000)
        await using incoming = await storage.receive(150_000)
        await pour(incoming, randomBytes(100_000))
        assert.equal(storage.reserve(bob, 150_000).kind, 'mailbox-full')
      }
      assert.equal(storage.waiting(bob, everything).positions.length, 0)
      await sendFile(storage, alice, bob, randomBytes(150_000))
    })

    test('K10 a clock that jumps changes neither order nor positions', async () => {
      await using folder = await temporaryFolder()
      let jumps = 0
      const now = () => [0, 4e12, -4e12, 1.5e12][jumps++ % 4] as number
      const { openSqlite } = await import('../../src/storage/sqlite.ts')
      const options = { folder: folder.path, nowMs: now, diskReserveShare: 0 }
      await using storage = kind === 'sqlite' ? await openSqlite(options) : await open(folder.path)
      const bob = await registered(storage, 'bob')
      const sent = []
      for (let i = 0; i < 50; i++) sent.push(await send(storage, bob, bob, `message ${i}`))
      assert.deepEqual(await heard(storage, bob), Buffer.concat(sent.map(({ bytes }) => bytes)))
    })

    test('a closed storage takes nothing new, and closing twice is closing once', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      await send(storage, alice, bob, 'before')
      using room = roomFor(storage, bob, 1)
      const fetched = storage.waiting(bob, everything)
      await Promise.all([storage[Symbol.asyncDispose](), storage[Symbol.asyncDispose]()])
      const stopping = { reason: 'stopping' }
      await assert.rejects(storage.accept({ sender: alice, room, type: 'text', content: Buffer.of(1) }), stopping)
      await assert.rejects(storage.register(registration(nameFromText('carol'))), stopping)
      await assert.rejects(take(storage, { sender: alice, room, type: 'text', content: Buffer.of(1) }), stopping)
      await assert.rejects(storage.discard(fetched), stopping)
      await assert.rejects(storage.receive(1), stopping)
    })

    test('whoever is told without a promise is told the position once the message waits, and of clients the same', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      using room = roomFor(storage, bob, 3)
      const content = Buffer.from('one')
      const taking = take(storage, { sender: alice, room, type: 'text', content })
      assert.equal(storage.waiting(bob, everything).positions.length, 0)
      const position = await taking
      assert.deepEqual(await heard(storage, bob), delivered(alice, position, content))
      const carol = registration(nameFromText('carol'))
      const enrolled = (): Promise<Registered> =>
        new Promise((durable, refused) => storage.takeClient(carol, { durable, refused }))
      const registering = enrolled()
      assert.equal(storage.clientById(carol.id), undefined)
      assert.equal((await registering).kind, 'registered')
      assert.equal(storage.clientById(carol.id)?.login, carol.login)
      assert.equal((await enrolled()).kind, 'name-taken')
    })

    test('closing waits for what was taken', async () => {
      await using world = await start()
      const { storage, alice, bob } = world
      const sending = Array.from({ length: 1000 }, (_, i) => send(storage, alice, bob, `message ${i}`))
      await storage[Symbol.asyncDispose]()
      const outcomes = await Promise.allSettled(sending)
      assert(outcomes.every(({ status }) => status === 'fulfilled'))
    })
  })
}

/** The position that is told. */
function take(storage: Storage, message: SmallMessage): Promise<number> {
  return new Promise((durable, refused) => storage.take(message, { durable, refused }))
}

function listingOf(clients: readonly Client[]): Buffer {
  return Buffer.concat(clients.map(({ id, name }) => encode(Listed, { client: id, name })))
}

/** The disk is looked at about once a second. */
async function eventually(holds: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 5000; !holds(); ) {
    assert(Date.now() < deadline, 'it did not happen within 5 seconds')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

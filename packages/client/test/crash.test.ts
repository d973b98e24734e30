import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { ConversationId } from '@messageu/protocol/v3'
import { ClientError } from '../src/errors.ts'
import type { Receiver } from '../src/inbox.ts'
import type { Change, Store } from '../src/store.ts'
import type { Channel, Transport } from '../src/transport.ts'
import { settled, until } from './fake-clock.ts'
import type { FakeServer } from './fake-server.ts'
import { Life, mortalStore, mortalWorld } from './mortal.ts'
import { comingBack, never, type Person, TestWorld } from './world.ts'

const conversation = decode(ConversationId, new Uint8Array(ConversationId.max).fill(3))
const contents = [1, 2, 3]
const progress = Uint8Array.of(0xff)

/** Submits what has not been submitted yet: how far it came stands in the same commit as the send. */
async function sendAll(world: TestWorld, { store }: Person, connect: () => ReturnType<TestWorld['connect']>) {
  const session = await connect()
  for (;;) {
    const [done = 0] = (await store.get('content', progress)) ?? []
    const content = contents[done]
    if (content === undefined) break
    const request = { conversation, generation: 1, epoch: 1, sealed: Uint8Array.of(content) }
    const change: Change = { table: 'content', key: progress, value: Uint8Array.of(done + 1) }
    await session.submit(async () => ({ sealed: { operation: 'send', request }, changes: [change] }), { signal: never })
  }
  await until(() => world.server.accepted.length === contents.length, 'all is accepted')
  for (;;) {
    if ((await store.read('outbox', { limit: 1 })).length === 0) return session
    await settled(1)
  }
}

/** Appends what it is handed to one list, in one commit with the place up to which it came. */
function listing(store: Store): Receiver {
  return {
    async receive(deliveries) {
      const before = (await store.get('content', progress)) ?? new Uint8Array()
      const value = Uint8Array.of(...before, ...deliveries.map(({ sealed }) => sealed[0] ?? 0))
      return [{ table: 'content', key: progress, value }]
    },
  }
}

describe('K07: a client that is killed between any two steps', () => {
  test('of sending loses nothing and sends nothing twice (I1, I2, I3, N01, N06)', async () => {
    let steps = 1
    for (; ; steps++) {
      const world = await TestWorld.start()
      const alice = await world.person('alice')
      const life = Life.of(steps)
      const mortal = { store: mortalStore(alice.store, life), world: mortalWorld(world.world, life) }
      const whole = sendAll(world, { ...alice, store: mortal.store }, () => world.connect(alice, mortal))
      whole.catch(() => {})
      const isWhole = await Promise.race([whole.then(() => true), life.over.then(() => false)])
      await settled(5)
      if (!isWhole) {
        await using _again = await sendAll(world, alice, () => world.connect(alice))
      }
      const sent = world.server.accepted.map((request) => ('sealed' in request ? request.sealed[0] : undefined))
      assert.deepEqual(sent, contents, `killed after step ${steps}`)
      const numbers = world.server.accepted.map(({ number }) => number)
      assert.deepEqual(numbers, [1, 2, 3], `killed after step ${steps}`)
      if (isWhole) break
    }
    assert.ok(steps > 15, `${steps} steps are not all of them`)
  })

  test('of receiving stores everything once and in order (I1, I2, I3)', async () => {
    let steps = 1
    for (; ; steps++) {
      const world = await TestWorld.start()
      const bob = await world.person('bob')
      const { device } = bob.account.identity
      const life = Life.of(steps)
      const store = mortalStore(bob.store, life)
      const mailbox = world.server.mailbox(device)
      for (const content of [1, 2]) world.server.deliver(device, { sealed: Uint8Array.of(content) })
      const options = { store, world: mortalWorld(world.world, life), receiver: listing(store) }
      const connected = world.connect(bob, options)
      connected.catch(() => {})
      const empty = until(() => mailbox.waiting.length === 0, 'all is acknowledged').then(() => true)
      empty.catch(() => {})
      const isWhole = await Promise.race([empty, life.over.then(() => false)])
      await settled(5)
      world.server.deliver(device, { sealed: Uint8Array.of(3) })
      await using _again = await world.connect(bob, { receiver: listing(bob.store) })
      await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
      const listed = await bob.store.get('content', progress)
      assert.deepEqual([...(listed ?? [])], [1, 2, 3], `killed after step ${steps}`)
      if (isWhole) break
    }
    assert.ok(steps > 8, `${steps} steps are not all of them`)
  })
})

describe('N01: a connection that is cut after any message, either way', () => {
  test('loses nothing and does nothing twice', async () => {
    let cuts = 1
    for (; ; cuts++) {
      const world = await TestWorld.start()
      const alice = await world.person('alice')
      const { device } = alice.account.identity
      const mailbox = world.server.mailbox(device)
      for (const content of [7, 8, 9]) world.server.deliver(device, { sealed: Uint8Array.of(content) })
      const life = Life.of(cuts)
      const transport = cuttingTransport(world.server, life)
      const receiver = listing(alice.store)
      const connected = world.connect(alice, { world: { ...world.world, transport }, receiver, patience: 'for-ever' })
      const whole = connected.then(async (session) => {
        for (const content of contents) {
          const request = { conversation, generation: 1, epoch: 1, sealed: Uint8Array.of(content) }
          const { outcome } = await session.submitSealed({ operation: 'send', request }, { signal: never })
          await outcome
        }
        await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
        return session
      })
      await using _session = await comingBack(world, alice, whole)
      const sent = world.server.accepted.map((request) => ('sealed' in request ? request.sealed[0] : undefined))
      assert.deepEqual(sent, contents, `cut after message ${cuts}`)
      const listed = await alice.store.get('content', progress)
      assert.deepEqual([...(listed ?? [])], [7, 8, 9], `cut after message ${cuts}`)
      if (!life.isOver) break
    }
    assert.ok(cuts > 8, `${cuts} cuts are not all of them`)
  })
})

/** A network that is cut once, after so many messages. */
function cuttingTransport(server: FakeServer, life: Life): Transport {
  let isCut = false
  return {
    async open(link, events): Promise<Channel> {
      let session: { cut(): void } | undefined
      const cut = (): void => {
        if (isCut || !life.isOver) return
        isCut = true
        queueMicrotask(() => {
          if (session === undefined) events.closed(new ClientError('lost', 'cut'))
          else session.cut()
        })
      }
      const channel = await server.open(link, {
        message: (message) => {
          life.step()
          events.message(message)
          cut()
        },
        closed: (why) => events.closed(why),
      })
      session = server.session
      return {
        certificate: channel.certificate,
        send: (message) => {
          life.step()
          channel.send(message)
          cut()
        },
        close: () => channel.close(),
      }
    },
  }
}

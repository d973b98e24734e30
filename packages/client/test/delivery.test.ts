import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Delivery } from '@messageu/protocol/v3'
import { ClientError } from '../src/errors.ts'
import type { Receiver } from '../src/inbox.ts'
import { limits } from '../src/limits.ts'
import type { Store } from '../src/store.ts'
import { settled, until } from './fake-clock.ts'
import { requested, someConversation } from './fake-server.ts'
import { type Person, TestWorld } from './world.ts'

/** Keeps the position of everything that is handed to it, and counts how often each was kept. */
function keeping(store: Store): Receiver & { readonly handed: number[][] } {
  const handed: number[][] = []
  return {
    handed,
    async receive(deliveries) {
      handed.push(deliveries.map(({ position }) => position))
      return Promise.all(
        deliveries.map(async ({ position }) => {
          const key = new TextEncoder().encode(`${position}`)
          const [count = 0] = (await store.get('content', key)) ?? []
          return { table: 'content' as const, key, value: Uint8Array.of(count + 1) }
        }),
      )
    },
  }
}

async function kept({ store }: Person): Promise<Record<string, number>> {
  const rows = await store.read('content', { limit: 10_000 })
  return Object.fromEntries(rows.map(({ key, value }) => [new TextDecoder().decode(key as Uint8Array), value[0] ?? 0])) // content has keys of bytes
}

async function receiving(receiverOf: (store: Store) => Receiver = keeping) {
  const world = await TestWorld.start()
  const bob = await world.person('bob')
  const { device } = bob.account.identity
  const receiver = receiverOf(bob.store)
  const session = await world.connect(bob, { receiver })
  return { world, bob, device, receiver, session, server: world.server, mailbox: world.server.mailbox(device) }
}

function acks(server: TestWorld['server']): number[] {
  return server.requests
    .filter(({ name }) => name === 'acknowledge')
    .map(({ body }) => requested('acknowledge', body).through)
}

const whyLost = (person: Person): unknown => {
  const lost = person.events.findLast((event) => event.kind === 'phase' && event.phase.phase === 'lost')
  return lost?.kind === 'phase' && lost.phase.phase === 'lost' && lost.phase.why
}

test('what waited and what comes is stored once, in order, and acknowledged', async () => {
  const world = await TestWorld.start()
  const bob = await world.person('bob')
  const { device } = bob.account.identity
  for (let i = 0; i < 5; i++) world.server.deliver(device)
  const receiver = keeping(bob.store)
  await using _session = await world.connect(bob, { receiver })
  await until(() => world.server.mailbox(device).waiting.length === 0, 'all is acknowledged')
  for (let i = 0; i < 5; i++) world.server.deliver(device)
  await until(() => world.server.mailbox(device).waiting.length === 0, 'all is acknowledged')
  assert.deepEqual(receiver.handed.flat(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  assert.deepEqual(new Set(Object.values(await kept(bob))), new Set([1]))
})

test('nothing is acknowledged before it is stored', async () => {
  const gate = Promise.withResolvers<void>()
  const { server, device, mailbox, bob, session } = await receiving((store) => ({
    async receive(deliveries, asker, rows) {
      await gate.promise
      return keeping(store).receive(deliveries, asker, rows)
    },
  }))
  await using _session = session
  server.deliver(device)
  await settled()
  assert.equal(mailbox.waiting.length, 1)
  assert.deepEqual(await kept(bob), {})
  gate.resolve()
  await until(() => mailbox.waiting.length === 0, 'it is acknowledged')
  assert.deepEqual(await kept(bob), { 1: 1 })
})

test('acknowledgements that would wait for each other become one', async () => {
  const { server, device, mailbox, session } = await receiving()
  await using _session = session
  await until(() => server.session.credit.messages > 0, 'credit')
  let held: (() => void) | undefined
  server.lie = (name, _body, fake) => {
    if (name !== 'acknowledge' || held !== undefined) return undefined
    held = () => fake.cut()
    return { kind: 'silence' }
  }
  for (let i = 0; i < 50; i++) {
    server.deliver(device)
    await settled(2)
  }
  assert.equal(acks(server).length, 1, 'the others wait for the first')
  held?.()
  assert.equal(mailbox.waiting.length, 50)
})

test('S10: never more is under way than was granted, however much waits', async () => {
  const { server, device, mailbox, session, receiver } = await receiving()
  await using _session = session
  let most = 0
  const { deliver } = server.session
  server.session.deliver = (delivery: Delivery) => {
    most = Math.max(most, delivery.position - mailbox.acknowledged)
    deliver.call(server.session, delivery)
  }
  for (let i = 0; i < 3_000; i++) server.deliver(device)
  await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
  assert.equal((receiver as ReturnType<typeof keeping>).handed.flat().length, 3_000) // made by keeping
  assert.ok(most <= limits.windowMessages + limits.batchMessagesMax, `${most} were under way`)
  assert.ok(acks(server).length < 1_000, `${acks(server).length} acknowledgements`)
})

test('large messages pass through the window of bytes', async () => {
  const { server, device, mailbox, session } = await receiving()
  await using _session = session
  for (let i = 0; i < 12; i++) server.deliver(device, { kind: 'commit', sealed: new Uint8Array(4 * 2 ** 20 - 5_000) })
  await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
})

const lies: Record<string, (server: TestWorld['server'], next: Delivery) => void> = {
  'a position that was delivered before': ({ session }, next) => {
    session.deliver(next)
    session.deliver(next)
  },
  'a position below one that was delivered': ({ session }, next) => {
    session.deliver({ ...next, position: 9 })
    session.deliver({ ...next, position: 8 })
  },
  'position 0': ({ session }, next) => session.deliver({ ...next, position: 0 }),
  'more messages than the credit': ({ session }, next) => {
    for (let i = 1; i <= limits.windowMessages + 1; i++) session.deliver({ ...next, position: i })
  },
  'more bytes than the credit': ({ session }, next) => {
    const sealed = new Uint8Array(4 * 2 ** 20)
    for (let i = 1; i <= 3; i++) session.deliver({ ...next, position: i, sealed })
  },
}
for (const [what, lie] of Object.entries(lies))
  test(`S10: ${what} ends the session`, async () => {
    const gate = Promise.withResolvers<readonly []>()
    const { server, bob, session } = await receiving(() => ({ receive: () => gate.promise }))
    await until(() => server.session.credit.messages > 0, 'credit')
    const next: Delivery = {
      position: 1,
      conversation: someConversation,
      generation: 1,
      sequence: 1,
      at: 1,
      kind: 'application',
      sealed: new Uint8Array(1),
    }
    lie(server, next)
    await settled()
    assert.equal(session.phase.phase, 'lost')
    const why = whyLost(bob)
    assert.ok(why instanceof ClientError && why.reason === 'bad-answer', String(why))
    gate.resolve([])
    await session[Symbol.asyncDispose]()
  })

test('S03, S05: what comes again in the next session is not stored again', async () => {
  const { world, server, device, mailbox, session, bob, receiver } = await receiving()
  await using _session = session
  server.lie = (name) => (name === 'acknowledge' ? { kind: 'silence' } : undefined)
  for (let i = 0; i < 3; i++) server.deliver(device)
  await until(() => acks(server).length === 1, 'it wants to acknowledge')
  server.lie = undefined
  server.session.cut()
  await world.clock.pass(limits.backoffMinMs)
  await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
  assert.equal(new Set((receiver as ReturnType<typeof keeping>).handed.flat()).size, 3) // made by keeping
  assert.deepEqual(await kept(bob), { 1: 1, 2: 1, 3: 1 })
})

test('what was delivered when the session was lost, and is being stored, is not stored twice', async () => {
  const gate = Promise.withResolvers<void>()
  const { world, server, device, mailbox, session, bob } = await receiving((store) => ({
    async receive(deliveries, asker, rows) {
      await gate.promise
      return keeping(store).receive(deliveries, asker, rows)
    },
  }))
  await using _session = session
  for (let i = 0; i < 3; i++) server.deliver(device)
  await settled()
  server.session.cut()
  await world.clock.pass(limits.backoffMinMs)
  await settled()
  gate.resolve()
  await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
  assert.deepEqual(await kept(bob), { 1: 1, 2: 1, 3: 1 })
})

test('a server that was restored counts anew, and that is told', async () => {
  const { world, server, device, mailbox, session, bob } = await receiving()
  await using _session = session
  for (let i = 0; i < 4; i++) server.deliver(device)
  await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
  server.restore()
  server.deliver(device)
  server.session.cut()
  await world.clock.pass(limits.backoffMinMs)
  await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
  assert.deepEqual(bob.events.filter(({ kind }) => kind === 'incarnation').length, 1)
  assert.equal((await kept(bob))[1], 2, 'position 1 of the new incarnation is another one')
})

test('S10: a server whose positions went back without a restore is not believed', async () => {
  const { world, server, device, mailbox, session, bob } = await receiving()
  await using _session = session
  for (let i = 0; i < 4; i++) server.deliver(device)
  await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
  server.opened = { position: 2 }
  server.session.cut()
  await world.clock.pass(limits.backoffMinMs)
  await until(
    () => bob.events.filter((event) => event.kind === 'phase' && event.phase.phase === 'lost').length >= 2,
    'it',
  )
  const why = whyLost(bob)
  assert.ok(why instanceof ClientError && why.reason === 'bad-answer')
})

test('what an earlier session delivered is acknowledged when it has come again, and not before', async () => {
  const { world, server, device, mailbox, session } = await receiving()
  await using _session = session
  server.lie = (name) => (name === 'acknowledge' ? { kind: 'silence' } : undefined)
  for (let i = 0; i < 3; i++) server.deliver(device)
  await until(() => acks(server).length === 1, 'it wants to acknowledge')
  server.lie = undefined
  const late = mailbox.waiting.splice(1)
  server.session.cut()
  await world.clock.pass(limits.backoffMinMs)
  await until(() => mailbox.waiting.length === 0, 'the first is acknowledged')
  assert.equal(acks(server).at(-1), 1)
  mailbox.waiting.push(...late)
  server.session.push()
  await until(() => mailbox.waiting.length === 0, 'the others are acknowledged')
  assert.equal(session.phase.phase, 'open')
})

test('what is still being stored when a restored server comes back is not taken for what that delivers', async () => {
  const gate = Promise.withResolvers<void>()
  const { world, server, device, mailbox, session, bob } = await receiving((store) => ({
    async receive(deliveries, asker, rows) {
      await gate.promise
      return keeping(store).receive(deliveries, asker, rows)
    },
  }))
  await using _session = session
  server.deliver(device)
  await settled()
  server.restore()
  server.deliver(device)
  server.session.cut()
  await world.clock.pass(limits.backoffMinMs)
  await settled(100)
  gate.resolve()
  await until(() => mailbox.waiting.length === 0, 'all is acknowledged')
  assert.deepEqual(await kept(bob), { 1: 2 })
})

test('a receiver that fails ends the connection with its reason, and acknowledges nothing', async () => {
  const { server, device, mailbox, session } = await receiving(() => ({
    receive: () => Promise.reject(new ClientError('damaged', 'the state of a conversation')),
  }))
  await using _session = session
  server.deliver(device)
  await until(() => session.phase.phase === 'ended', 'the end')
  assert.equal(session.phase.phase === 'ended' && session.phase.why.message, 'the state of a conversation')
  assert.equal(mailbox.waiting.length, 1)
})

test('without a receiver nothing is asked for', async () => {
  const world = await TestWorld.start()
  const bob = await world.person('bob')
  await using _session = await world.connect(bob)
  await settled()
  assert.equal(
    world.server.requests.some(({ name }) => name === 'credit'),
    false,
  )
})

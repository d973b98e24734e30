import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode } from '@messageu/protocol'
import { ConversationId, RefusedError, type Send } from '@messageu/protocol/v3'
import { limits } from '../src/limits.ts'
import { MemoryStore } from '../src/memory-store.ts'
import type { Draft, Place, Sender } from '../src/outbox.ts'
import type { Session } from '../src/session.ts'
import type { Store } from '../src/store.ts'
import { settled, until } from './fake-clock.ts'
import { type FakeSession, requested } from './fake-server.ts'
import { comingBack, never, type Person, TestWorld } from './world.ts'

const conversation = (n: number): ConversationId => decode(ConversationId, new Uint8Array(ConversationId.max).fill(n))
const [first, second] = [conversation(1), conversation(2)]

function draft(content: number, { of = first, epoch = 1 } = {}): Draft {
  const request = { conversation: of, generation: 1, epoch, sealed: Uint8Array.of(content) }
  return { sealed: { operation: 'send', request }, changes: [] }
}

function submit(session: Session, content: number, of = first) {
  return session.submit(async () => draft(content, { of }), { signal: never })
}

/** The contents that the server has accepted, in its order. */
const accepted = ({ server }: TestWorld): (number | undefined)[] =>
  server.accepted.map((request) => ('sealed' in request ? request.sealed[0] : undefined))

const sends = ({ server }: TestWorld): Send[] =>
  server.requests.filter(({ name }) => name === 'send').map(({ body }) => requested('send', body))

async function sending(sender?: Sender) {
  const world = await TestWorld.start()
  const alice = await world.person('alice')
  const session = await world.connect(alice, sender === undefined ? {} : { sender })
  return { world, alice, session, server: world.server, clock: world.clock }
}

const noteKey = (number: number): Uint8Array => Uint8Array.of(number)

/** Notes the sequence of each send, 0 for one that was refused, under its number. */
const noting: Sender = {
  answered: async ({ number }, outcome) => {
    const sequence = outcome.kind === 'accepted' ? outcome.accepted.sequence : 0
    return [{ table: 'content', key: noteKey(number), value: Uint8Array.of(sequence) }]
  },
  reseal: async () => undefined,
}

test('sends are numbered from 1, and what their sender makes of the answers is stored', async () => {
  const { session, alice, world } = await sending(noting)
  await using _session = session
  for (const content of [10, 20, 30]) {
    const { place, outcome } = await submit(session, content)
    assert.equal(place.number, content / 10)
    const answered = await outcome
    assert.equal(answered.kind === 'accepted' && answered.accepted.sequence, content / 10)
    assert.deepEqual(await alice.store.get('content', noteKey(place.number)), Uint8Array.of(content / 10))
  }
  assert.deepEqual(accepted(world), [10, 20, 30])
  assert.deepEqual(await alice.store.read('outbox', { limit: 9 }), [])
})

test('K07: nothing is sent before it is stored, together with what the caller changes', async () => {
  const { alice, world } = await sending()
  const gate = Promise.withResolvers<void>()
  const store: Store = overriding(alice.store, {
    commit: async (changes, revision) => {
      if (changes.some(({ table }) => table === 'outbox')) await gate.promise
      return alice.store.commit(changes, revision)
    },
  })
  await using session = await world.connect({ ...alice, store })
  const key = Uint8Array.of(5)
  const submitted = session.submit(
    async () => ({ ...draft(1), changes: [{ table: 'content', key, value: Uint8Array.of(6) }] }),
    { signal: never },
  )
  await settled()
  assert.equal(sends(world).length, 0)
  gate.resolve()
  await (await submitted).outcome
  assert.deepEqual(await alice.store.get('content', key), Uint8Array.of(6))
})

test('N01, N06: an answer that was lost comes again for the same bytes, and nothing is done twice', async () => {
  const { session, world, server, alice } = await sending()
  await using _session = session
  const { accept } = server
  let cuts = 0
  server.accept = (...parts: Parameters<typeof accept>) => {
    const result = accept.apply(server, parts)
    if (cuts++ < 3) server.session.cut()
    return result
  }
  const { outcome } = await submit(session, 1)
  const answered = await comingBack(world, alice, outcome)
  assert.deepEqual(answered, { kind: 'accepted', accepted: { sequence: 1, position: 1, at: 1 } })
  assert.deepEqual(accepted(world), [1])
  const bodies = server.requests
    .filter(({ name }) => name === 'send')
    .map(({ body }) => Buffer.from(body).toString('hex'))
  assert.equal(bodies.length, 4)
  assert.equal(new Set(bodies).size, 1)
})

test('what has no answer is sent again first, in its order, by the next process too', async () => {
  const { session, alice, world, server } = await sending()
  server.lie = (name) => (name === 'send' ? { kind: 'silence' } : undefined)
  for (const [content, of] of [
    [1, first],
    [2, second],
    [3, first],
  ] as const)
    await submit(session, content, of)
  await session[Symbol.asyncDispose]()
  server.lie = undefined
  server.requests.length = 0
  await using _again = await world.connect(alice, { receiver: { receive: async () => [] } })
  await until(() => server.accepted.length === 3, 'all are accepted')
  assert.deepEqual(
    server.requests.slice(0, 3).map(({ name }) => name),
    ['prove', 'send', 'send'],
  )
  assert.deepEqual(
    sends(world).map(({ number }) => number),
    [1, 2, 3],
  )
  assert.deepEqual(accepted(world), [1, 2, 3])
})

test('I3: a send that has to wait is not overtaken in its conversation, and holds up no other', async () => {
  const { session, world, server, clock } = await sending()
  await using _session = session
  const limited = new RefusedError('limited', 'slowly', { retryAfterMs: 1_000 })
  server.lie = (name, body) =>
    name === 'send' && requested('send', body).number === 1 ? { kind: 'refuse', error: limited } : undefined
  const outcomes = []
  for (const [content, of] of [
    [1, first],
    [2, first],
    [3, second],
  ] as const)
    outcomes.push((await submit(session, content, of)).outcome)
  await until(() => server.accepted.length === 1, 'the other conversation goes on')
  await clock.pass(900)
  assert.deepEqual(accepted(world), [3])
  assert.equal(sends(world).filter(({ number }) => number === 1).length, 1, 'not before the server wants it')
  server.lie = undefined
  await clock.pass(limits.backoffMaxMs)
  await Promise.all(outcomes)
  assert.deepEqual(accepted(world), [3, 1, 2])
})

test('what is refused for good is told, recorded, and holds up nothing', async () => {
  const { session, alice, world, server } = await sending(noting)
  await using _session = session
  const error = new RefusedError('not-permitted', 'not on the roster')
  server.lie = (name, body) =>
    name === 'send' && requested('send', body).number === 1 ? { kind: 'refuse', error } : undefined
  const [one, two] = [await submit(session, 1), await submit(session, 2)]
  const refused = await one.outcome
  assert.equal(refused.kind === 'refused' && refused.error.reason, 'not-permitted')
  assert.equal((await two.outcome).kind, 'accepted')
  assert.deepEqual(await alice.store.get('content', noteKey(1)), Uint8Array.of(0))
  assert.deepEqual(accepted(world), [2])
})

for (const reason of ['stale-epoch', 'stale-generation'] as const)
  test(`after ${reason} the content is sealed again under the same id and number`, async () => {
    const { world, session, server, alice } = await sending({
      answered: async ({ number }, { kind }) => [
        { table: 'content', key: Uint8Array.of(number), value: new TextEncoder().encode(kind) },
      ],
      reseal: async () => draft(77, { epoch: 2 }),
    })
    await using _session = session
    const error = new RefusedError(reason, 'too late')
    server.lie = (name, body) =>
      name === 'send' && requested('send', body).epoch === 1 ? { kind: 'refuse', error } : undefined
    const { place, outcome } = await submit(session, 1)
    assert.equal((await outcome).kind, 'accepted')
    const [before, after] = sends(world)
    assert.deepEqual([before?.epoch, after?.epoch], [1, 2])
    assert.deepEqual([after?.id, after?.number], [place.id, place.number])
    assert.deepEqual(accepted(world), [77])
    const told = await alice.store.get('content', Uint8Array.of(1))
    assert.equal(new TextDecoder().decode(told), 'accepted')
  })

test('a server that finds every epoch stale does not make us seal without end', async () => {
  let sealed = 0
  const { session, server, clock } = await sending({
    answered: async () => [],
    reseal: async () => {
      sealed += 1
      return draft(1)
    },
  })
  await using _session = session
  server.lie = (name) =>
    name === 'send' ? { kind: 'refuse', error: new RefusedError('stale-epoch', 'no') } : undefined
  await submit(session, 1)
  await settled(200)
  assert.ok(sealed <= 2, `sealed ${sealed} times without a pause`)
  await clock.pass(10_000)
  assert.ok(sealed <= 12, `sealed ${sealed} times in 10 s`)
})

test('content that nobody seals again counts as refused', async () => {
  const { session, server } = await sending()
  await using _session = session
  server.lie = (name) =>
    name === 'send' ? { kind: 'refuse', error: new RefusedError('stale-epoch', 'no') } : undefined
  const { outcome } = await submit(session, 1)
  const refused = await outcome
  assert.equal(refused.kind === 'refused' && refused.error.reason, 'stale-epoch')
})

test('S14: a profile whose number the server has already is a copy: it sends nothing, and says so', async () => {
  const { session, alice, world, server } = await sending()
  await (await submit(session, 1)).outcome
  const copy = await copyOf(alice)
  await (await submit(session, 2)).outcome
  await session[Symbol.asyncDispose]()
  server.requests.length = 0
  await assert.rejects(world.connect(copy, { patience: 'for-ever' }), { reason: 'clone' })
  assert.deepEqual(
    server.requests.map(({ name }) => name),
    ['prove'],
  )
  await using _original = await world.connect(alice)
})

test('S14: an unanswered send explains the number that the server has', async () => {
  const { session, alice, world, server } = await sending()
  server.lie = cutAfterAccepting(server)
  await submit(session, 1)
  await until(() => server.accepted.length === 1, 'it is accepted')
  await session[Symbol.asyncDispose]()
  server.lie = undefined
  await using again = await world.connect(alice)
  assert.equal((await (await submit(again, 2)).outcome).kind, 'accepted')
  assert.deepEqual(accepted(world), [1, 2])
})

test('S14: other bytes under one of our numbers are the work of a copy', async () => {
  const { session, alice, world } = await sending()
  const copy = await copyOf(alice)
  await using other = await world.connect(copy)
  await (await submit(session, 1)).outcome
  await submit(other, 2)
  await until(() => other.phase.phase === 'ended', 'the end')
  assert.ok(other.phase.phase === 'ended' && 'reason' in other.phase.why && other.phase.why.reason === 'clone')
  assert.deepEqual(accepted(world), [1])
  await session[Symbol.asyncDispose]()
})

test('places are given without a gap, also when sealing fails', async () => {
  const { session, world } = await sending()
  await using _session = session
  await assert.rejects(
    session.submit(() => Promise.reject(new Error('no key')), { signal: never }),
    { message: 'no key' },
  )
  const places: Place[] = []
  const seal = async (place: Place): Promise<Draft> => {
    places.push(place)
    return draft(place.number)
  }
  const submitted = await Promise.all([1, 2, 3].map(() => session.submit(seal, { signal: never })))
  await Promise.all(submitted.map(({ outcome }) => outcome))
  assert.deepEqual(
    places.map(({ number }) => number),
    [1, 2, 3],
  )
  assert.deepEqual(accepted(world), [1, 2, 3])
})

test('I9: what has no answer has a bound: then submitting waits, and the signal ends the wait', async () => {
  const { session, server, clock } = await sending()
  await using _session = session
  server.isReachable = false
  server.session.cut()
  await settled()
  const large = { conversation: first, generation: 1, epoch: 1, sealed: new Uint8Array(262_144) }
  const submitLarge = (signal: AbortSignal) =>
    session.submit(async () => ({ sealed: { operation: 'send', request: large }, changes: [] }), { signal })
  const most = Math.ceil(limits.unansweredBytesMax / large.sealed.length)
  for (let count = 0; count < most; count++) await submitLarge(never)
  const controller = new AbortController()
  const unwanted = submitLarge(controller.signal)
  await settled()
  controller.abort(new Error('enough'))
  await assert.rejects(unwanted, { message: 'enough' })
  let isSubmitted = false
  const wanted = submitLarge(never).then(() => {
    isSubmitted = true
  })
  await settled()
  assert.equal(isSubmitted, false)
  server.isReachable = true
  await clock.pass(limits.backoffMinMs)
  await wanted
})

test('whoever waits for an answer, or for room, is told when the session ends', async () => {
  const { session, server, clock } = await sending()
  server.lie = (name) => (name === 'send' ? { kind: 'refuse', error: new RefusedError('limited', 'later') } : undefined)
  const { outcome } = await submit(session, 1)
  await settled()
  server.session.notice({ kind: 'superseded', body: undefined })
  await assert.rejects(outcome, { reason: 'superseded' })
  assert.equal(clock.nextMs, undefined, 'nothing is planned')
  await assert.rejects(submit(session, 2), { reason: 'superseded' })
  await session[Symbol.asyncDispose]()
})

test('a closed session stores nothing any more', async () => {
  const { alice, world } = await sending()
  let isClosed = false
  const store: Store = overriding(alice.store, {
    commit: async (changes, revision) => {
      await settled(3)
      assert.equal(isClosed, false)
      return alice.store.commit(changes, revision)
    },
  })
  const session = await world.connect({ ...alice, store }, { receiver: { receive: async () => [] }, sender: noting })
  world.server.deliver(alice.account.identity.device)
  const { outcome } = await submit(session, 1)
  await until(() => world.server.accepted.length === 1, 'it is accepted')
  await session[Symbol.asyncDispose]()
  isClosed = true
  await outcome.catch(() => {})
  await settled()
  const isNoted = (await alice.store.get('content', noteKey(1))) !== undefined
  assert.equal((await alice.store.read('outbox', { limit: 9 })).length, isNoted ? 0 : 1)
})

test('K05: a store that takes no more ends the connection with its reason; what it has is sent later', async () => {
  const { alice, world } = await sending()
  let isFull = false
  const store: Store = overriding(alice.store, {
    commit: (changes, revision) => (isFull ? Promise.reject(new Error('full')) : alice.store.commit(changes, revision)),
  })
  const session = await world.connect({ ...alice, store })
  const { accept } = world.server
  world.server.accept = (...parts: Parameters<typeof accept>) => {
    isFull = true
    return accept.apply(world.server, parts)
  }
  await submit(session, 1)
  await until(() => session.phase.phase === 'ended', 'the end')
  assert.equal(session.phase.phase === 'ended' && session.phase.why.message, 'full')
  await session[Symbol.asyncDispose]()
  await using _again = await world.connect(alice)
  await until(() => sends(world).length === 2, 'it is sent again')
  assert.deepEqual(accepted(world), [1])
})

test('a damaged outbox is told of, and nothing of it is sent', async () => {
  const { session, alice, world, server } = await sending()
  server.lie = (name) => (name === 'send' ? { kind: 'silence' } : undefined)
  await submit(session, 1)
  await session[Symbol.asyncDispose]()
  for (const value of [Uint8Array.of(1, 2, 3), Uint8Array.of(1, 0, 0, 0, 0)]) {
    await alice.store.commit([{ table: 'outbox', key: 1, value }], alice.store.revision)
    await assert.rejects(world.connect(alice), { reason: 'damaged' })
  }
})

function overriding(store: Store, parts: Partial<Store>): Store {
  return {
    get revision() {
      return store.revision
    },
    get: (...range) => store.get(...range),
    read: (...range) => store.read(...range),
    commit: (...step) => store.commit(...step),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    ...parts,
  }
}

async function copyOf(person: Person): Promise<Person> {
  const store = new MemoryStore()
  for (const table of ['account', 'progress', 'outbox'] as const) {
    const rows = await person.store.read(table, { limit: 100 })
    await store.commit(
      rows.map((row) => ({ table, ...row })),
      store.revision,
    )
  }
  return { ...person, store, events: [] }
}

function cutAfterAccepting(server: TestWorld['server']) {
  return (name: string, body: Uint8Array, session: FakeSession) => {
    if (name !== 'send' || session.device === undefined) return undefined
    server.accept(session.device, requested('send', body), body)
    session.cut()
    return { kind: 'silence' } as const
  }
}

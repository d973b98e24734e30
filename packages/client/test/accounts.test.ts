import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { accountKeyFromWords, changeManager, newSeed, newWords, signingKey, verifyList } from '@messageu/e2ee'
import { type PublicKey, RefusedError, toBase64url } from '@messageu/protocol/v3'
import { MemoryStore } from '../src/memory-store.ts'
import { recover, register } from '../src/registering.ts'
import { accountKeys, accountRow, getRow, registrationRow } from '../src/rows.ts'
import { type Session, whoAmI } from '../src/session.ts'
import { type Store, tables } from '../src/store.ts'
import { done, type FakeServer, type FakeSession, noEntry } from './fake-server.ts'
import { never, type Person, random, TestWorld } from './world.ts'

/** Cuts the connection when the server has done what was asked, and has not answered. */
function loseAnswer(server: FakeServer, operation: 'register' | 'recover') {
  return (name: string, _body: Uint8Array, session: FakeSession) => {
    if (name !== operation) return undefined
    server.lie = undefined
    session.say = () => session.cut()
    return undefined
  }
}

const applicant = ({ server, world }: TestWorld, store: Store, words = newWords(random)) => ({
  link: server.link,
  words,
  store,
  world,
  signal: never,
})

/** One more entry on the list of a person. */
async function grow({ server }: TestWorld, { account, words }: Person): Promise<void> {
  const kept = server.lists.get(toBase64url(account.identity.account))
  assert.ok(kept)
  const { publicKey } = await signingKey(newSeed(random))
  const entry = await changeManager(kept.list, await accountKeyFromWords(words), publicKey)
  await server.append(account.identity.account, entry)
}

/** Another history of the same account, by whoever has its words. */
async function fork(world: TestWorld, person: Person): Promise<void> {
  const { server } = world
  const key = toBase64url(person.account.identity.account)
  const kept = server.lists.get(key)
  assert.ok(kept)
  server.lists.set(key, { entries: kept.entries.slice(0, 1), list: await verifyList(kept.entries.slice(0, 1)) })
  await grow(world, person)
}

async function two() {
  const world = await TestWorld.start()
  const [alice, bob] = [await world.person('alice'), await world.person('bob')]
  const session = await world.connect(alice)
  const readBob = () => session.readList(bob.account.identity.account, { signal: never })
  return { world, server: world.server, alice, bob, session, readBob }
}

const alarmsOf = async (session: Session) => (await session.alarms()).map(({ kind, name }) => [kind, name])

describe('registering', () => {
  test('I4: neither the words nor the account key are kept, and no key can be printed', async () => {
    const world = await TestWorld.start()
    const store = new MemoryStore()
    const words = newWords(random)
    const account = await register({ ...applicant(world, store, words), name: 'alice' })
    for (const table of Object.keys(tables) as (keyof typeof tables)[])
      for (const { value } of await store.read(table, { limit: 1_000 }))
        assert.equal(Buffer.from(value).includes(Buffer.from(words.entropy().reveal())), false, table)
    const seed = Buffer.from(account.identity.requestSeed.reveal())
    const printed = `${inspect(account, { depth: 9 })} ${JSON.stringify(account)} ${account.identity.requestSeed}`
    for (const form of [seed.toString('hex'), [...seed].join(','), seed.toString('base64')])
      assert.equal(printed.includes(form), false)
  })

  test('N06: the same words and name get the same account, when the answer was lost', async () => {
    const world = await TestWorld.start()
    const store = new MemoryStore()
    const mine = applicant(world, store)
    world.server.lie = loseAnswer(world.server, 'register')
    await assert.rejects(register({ ...mine, name: 'alice' }), { reason: 'lost' })
    assert.equal(world.server.lists.size, 1, 'the server has done it')
    assert.equal(await whoAmI(store), undefined)
    const account = await register({ ...mine, name: 'alice' })
    assert.equal(world.server.lists.size, 1)
    const bodies = world.server.requests.filter(({ name }) => name === 'register').map(({ body }) => toBase64url(body))
    assert.equal(new Set(bodies).size, 1, 'the same bytes')
    assert.deepEqual(await whoAmI(store), account)
    assert.equal(await getRow(store, registrationRow, accountKeys.registration), undefined)
  })

  test('other words, or another name, begin another account', async () => {
    const world = await TestWorld.start()
    const store = new MemoryStore()
    world.server.lie = loseAnswer(world.server, 'register')
    await assert.rejects(register({ ...applicant(world, store), name: 'alice' }), { reason: 'lost' })
    const account = await register({ ...applicant(world, store), name: 'alicia' })
    assert.equal(account.identity.name, 'alicia')
    assert.equal(world.server.lists.size, 2)
  })

  test('what is refused for good is forgotten; what is refused for now is kept for the next time', async () => {
    const world = await TestWorld.start()
    const store = new MemoryStore()
    const mine = applicant(world, store)
    const pending = () => getRow(store, registrationRow, accountKeys.registration)
    for (const [reason, isKept] of [
      ['limited', true],
      ['name-taken', false],
    ] as const) {
      world.server.lie = (name) =>
        name === 'register' ? { kind: 'refuse', error: new RefusedError(reason, 'no') } : undefined
      await assert.rejects(register({ ...mine, name: 'alice' }), { reason })
      assert.equal((await pending()) !== undefined, isKept, reason)
    }
  })

  test('a profile has one account', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    const again = applicant(world, alice.store)
    await assert.rejects(register({ ...again, name: 'bob' }), { reason: 'already-registered' })
    await assert.rejects(recover(again), { reason: 'already-registered' })
  })

  test('S02: another server than the one of the link gets neither the name nor the invite', async () => {
    const world = await TestWorld.start()
    world.server.hello = { serverKey: new Uint8Array(32) as PublicKey } // 32 bytes, and nobody's
    const registering = register({ ...applicant(world, new MemoryStore()), name: 'alice' })
    await assert.rejects(registering, { reason: 'untrusted-server' })
    assert.deepEqual(world.server.session.messages, [])
  })

  test('a server that registers, and cannot prove who it is, gets no account of ours', async () => {
    const world = await TestWorld.start()
    const store = new MemoryStore()
    const mine = applicant(world, store)
    world.server.lie = (name) =>
      name === 'prove' ? { kind: 'refuse', error: new RefusedError('unproved', 'no') } : undefined
    await assert.rejects(register({ ...mine, name: 'alice' }), { reason: 'unproved' })
    assert.equal(await whoAmI(store), undefined)
  })
})

describe('recovering', () => {
  test('the words alone bring the account back, to this device only', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    const store = new MemoryStore()
    const account = await recover(applicant(world, store, alice.words))
    assert.equal(account.identity.name, 'alice')
    assert.deepEqual(account.identity.account, alice.account.identity.account)
    await assert.rejects(world.connect(alice), { reason: 'unproved' }, 'the device from before is delisted')
    await using session = await world.connect({ ...alice, store })
    const { devices } = await session.ownList({ signal: never })
    assert.deepEqual(
      devices.map(({ device }) => device),
      [account.identity.device],
    )
  })

  test('N06: a recovery whose answer was lost is not done twice', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    const store = new MemoryStore()
    world.server.lie = loseAnswer(world.server, 'recover')
    await assert.rejects(recover(applicant(world, store, alice.words)), { reason: 'lost' })
    const account = await recover(applicant(world, store, alice.words))
    const kept = world.server.lists.get(toBase64url(account.identity.account))
    assert.equal(kept?.list.version, 2)
  })

  test('a list that grows meanwhile is read again', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    let isGrown = false
    const { append } = world.server
    world.server.append = async (...parts) => {
      world.server.append = append
      if (!isGrown) await grow(world, alice)
      isGrown = true
      return append.apply(world.server, parts)
    }
    const account = await recover(applicant(world, new MemoryStore(), alice.words))
    assert.equal(world.server.lists.get(toBase64url(account.identity.account))?.list.version, 3)
  })

  test('words without an account here are refused', async () => {
    const world = await TestWorld.start()
    await world.person('alice')
    await assert.rejects(recover(applicant(world, new MemoryStore())), { reason: 'not-permitted' })
  })
})

describe('device lists', () => {
  test('a list that grows is followed, over any number of pages', async () => {
    const { world, bob, session, readBob } = await two()
    await using _session = session
    assert.equal((await readBob()).version, 1)
    for (let entry = 0; entry < 5; entry++) await grow(world, bob)
    assert.equal((await readBob()).version, 6)
    assert.deepEqual(await session.alarms(), [])
  })

  test('a list that is said to be as it was is not read again', async () => {
    const { server, session, bob, readBob } = await two()
    await using _session = session
    const told = await readBob()
    const before = server.requests.length
    const list = await session.readList(bob.account.identity.account, { signal: never, told })
    assert.deepEqual(list.hash, told.hash)
    assert.equal(server.requests.length, before)
  })

  test('news that is older than what was read meanwhile is no alarm', async () => {
    const { world, session, bob, readBob } = await two()
    await using _session = session
    const told = await readBob()
    await grow(world, bob)
    await readBob()
    const list = await session.readList(bob.account.identity.account, { signal: never, told })
    assert.equal(list.version, 2)
    assert.deepEqual(await session.alarms(), [])
  })

  test('S03, S07: an older list than before is refused, and that stays to be told', async () => {
    const { world, server, bob, session, readBob } = await two()
    await using _session = session
    const key = toBase64url(bob.account.identity.account)
    const old = server.lists.get(key)
    assert.ok(old)
    const told = { version: old.list.version, hash: old.list.hash }
    await grow(world, bob)
    await readBob()
    server.lists.set(key, old)
    await assert.rejects(readBob(), { reason: 'older-list' })
    await assert.rejects(session.readList(bob.account.identity.account, { signal: never, told }), {
      reason: 'older-list',
    })
    assert.deepEqual(await alarmsOf(session), [['older-list', 'bob']])
  })

  for (const growth of [0, 1, 3])
    test(`S01: a list that contradicts the one before is refused, ${growth} versions later`, async () => {
      const { world, bob, session, readBob } = await two()
      await using _session = session
      await grow(world, bob)
      const before = await readBob()
      await fork(world, bob)
      for (let entry = 0; entry < growth; entry++) await grow(world, bob)
      const [person] = world.server.people().filter(({ name }) => name === 'bob')
      assert.ok(person)
      const told = { version: person.listVersion, hash: person.listHash }
      const read = session.readList(bob.account.identity.account, { signal: never, told })
      await assert.rejects(read, { reason: 'forked-list' })
      assert.deepEqual(await alarmsOf(session), [['forked-list', 'bob']])
      const again = await session.readList(bob.account.identity.account, { signal: never, told: before })
      assert.deepEqual(again.hash, before.hash, 'what was seen before stays what is known')
    })

  test('S10: lists without end, without entries, or with more than they have, are refused', async () => {
    const { server, session, bob, readBob } = await two()
    await using _session = session
    const { entries } = server.lists.get(toBase64url(bob.account.identity.account)) ?? { entries: [] }
    const pages = [
      { version: 0xffff_ffff, entries },
      { version: 2, entries: [] },
      { version: 0, entries },
      { version: 1, entries: [...entries, ...entries] },
      { version: 1, entries: [noEntry] },
      { version: 2, entries: [...entries, noEntry] },
      { version: 0, entries: [] },
    ]
    for (const page of pages) {
      server.lie = (name) => (name === 'read-list' ? { kind: 'answer', body: done('read-list', page) } : undefined)
      await assert.rejects(readBob(), { reason: 'bad-answer' }, `${page.version}, ${page.entries.length}`)
    }
  })

  test('S01: the list of another account is not taken for the one that was asked for', async () => {
    const { server, session, alice, readBob } = await two()
    await using _session = session
    const { entries } = server.lists.get(toBase64url(alice.account.identity.account)) ?? { entries: [] }
    const page = done('read-list', { version: 1, entries })
    server.lie = (name) => (name === 'read-list' ? { kind: 'answer', body: page } : undefined)
    await assert.rejects(readBob(), { reason: 'bad-answer' })
  })
})

describe('people', () => {
  test('S01: a name that comes to stand for another account is an alarm, until the user accepts it', async () => {
    const { world, server, session, bob } = await two()
    await using _session = session
    assert.deepEqual((await session.find('bob', { signal: never }))?.account, bob.account.identity.account)
    server.lists.delete(toBase64url(bob.account.identity.account))
    assert.equal(await session.find('bob', { signal: never }), undefined)
    const other = await world.person('bob')
    await assert.rejects(session.find('bob', { signal: never }), { reason: 'other-account' })
    await assert.rejects(session.find('bob', { signal: never }), { reason: 'other-account' }, 'and again')
    const listed = []
    for await (const { people } of session.people({ signal: never })) listed.push(...people)
    assert.deepEqual(
      listed.map(({ name, isOtherAccount }) => [name, isOtherAccount]),
      [
        ['alice', false],
        ['bob', true],
      ],
    )
    assert.deepEqual(await alarmsOf(session), [['other-account', 'bob']])
    await session.acceptAccount('bob')
    assert.deepEqual((await session.find('bob', { signal: never }))?.account, other.account.identity.account)
    assert.deepEqual(await session.alarms(), [])
  })

  test('a listing is where a name is first seen, too', async () => {
    const { world, server, session, bob } = await two()
    await using _session = session
    for await (const _page of session.people({ signal: never }));
    server.lists.delete(toBase64url(bob.account.identity.account))
    await world.person('bob')
    await assert.rejects(session.find('bob', { signal: never }), { reason: 'other-account' })
  })

  test('everybody comes once, over several pages', async () => {
    const { world, session } = await two()
    await using _session = session
    for (const name of ['carol', 'dave', 'erin']) await world.person(name)
    const names = []
    for await (const page of session.people({ signal: never })) names.push(...page.people.map(({ name }) => name))
    assert.deepEqual(names, ['alice', 'bob', 'carol', 'dave', 'erin'])
  })

  test('S10: a listing that goes in circles, stands still or shows nobody without an end is refused', async () => {
    const { server, session } = await two()
    await using _session = session
    const people = server.people()
    for (const page of [people, people.toReversed(), [...people, ...people], []]) {
      const body = done('people', { isDirectory: true, people: page, isLast: false })
      server.lie = (name) => (name === 'people' ? { kind: 'answer', body } : undefined)
      const read = async () => {
        for await (const _page of session.people({ signal: never }));
      }
      await assert.rejects(read(), { reason: 'bad-answer' }, page.map(({ name }) => name).join())
    }
  })

  test('S10: conversations that go in circles are refused', async () => {
    const { server, session } = await two()
    await using _session = session
    const { lie } = server
    server.lie = undefined
    const page = await session.request('conversations', { after: undefined }, { signal: never })
    for (const conversations of [page.conversations, []]) {
      const body = done('conversations', { conversations, isLast: false })
      server.lie = (name) => (name === 'conversations' ? { kind: 'answer', body } : lie?.(name, body, server.session))
      const read = async () => {
        for await (const _each of session.conversations({ signal: never }));
      }
      await assert.rejects(read(), { reason: 'bad-answer' })
    }
  })

  test('who is found has the name that was looked for', async () => {
    const { server, session } = await two()
    await using _session = session
    const [alice] = server.people()
    server.lie = (name) => (name === 'find' ? { kind: 'answer', body: done('find', alice) } : undefined)
    await assert.rejects(session.find('bob', { signal: never }), { reason: 'bad-answer' })
    await assert.rejects(session.find('b\u0430b', { signal: never }), { reason: 'bad-name' })
  })
})

test('a profile without an account is told what to do', async () => {
  const world = await TestWorld.start()
  const person = { store: new MemoryStore(), events: [] } as unknown as Person // all that connecting looks at
  await assert.rejects(world.connect(person), { reason: 'not-registered', advice: /register/ })
})

test('a damaged account is told of', async () => {
  const world = await TestWorld.start()
  const { store } = await world.person('alice')
  await store.commit([{ table: 'account', key: 0, value: Uint8Array.of(1) }], store.revision)
  await assert.rejects(getRow(store, accountRow, accountKeys.account), { reason: 'damaged' })
})

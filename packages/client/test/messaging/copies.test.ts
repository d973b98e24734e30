import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { newSeed, signingKey } from '@messageu/e2ee'
import type { Authored, Copy } from '@messageu/e2ee/conversation'
import type { ConversationId, SendId } from '@messageu/protocol/v3'
import { authoredIn } from '../../src/messaging/authored.ts'
import { newcomerKey } from '../../src/messaging/errands.ts'
import type { Item } from '../../src/messaging/items.ts'
import { conversationRow, errandRow } from '../../src/messaging/rows.ts'
import { getRow, putRow } from '../../src/rows.ts'
import { never, random } from '../world.ts'
import { damageNext } from './interception.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { sealedBy } from './sealing.ts'
import { flipped } from './spoiling.ts'
import { still } from './stillness.ts'

/** Bob has not been able to open what Alice has said last, and can ask nobody; Mallory, who is in both groups, answers. */
async function scene(world: MessagingWorld) {
  const [alice, bob, mallory] = await world.people('alice', 'bob', 'mallory')
  await world.acquaint(alice, bob, mallory)
  const [team, other] = [await world.group(alice, 'team', bob, mallory), await world.group(mallory, 'other', bob)]
  await alice.sayTo(team, 'one')
  const own = await mallory.sayTo(team, 'two')
  const bobs = bob.identity.device
  world.server.lie = (name, _, { device }) =>
    name === 'send' && device !== undefined && same(device, bobs) ? { kind: 'silence' } : undefined
  damageNext(world.server, bobs, flipped)
  const lost = await alice.sayTo(team, 'three')
  assert.equal(bob.kinds('unopened').length, 1)
  return { alice, bob, mallory, team, other, own, lost }
}

async function authored({ store }: Device, conversation: ConversationId, id: SendId): Promise<Authored> {
  const row = (await getRow(store, conversationRow, conversation)) ?? assert.fail()
  return ((await authoredIn(store, row, id)) ?? assert.fail()).authored
}

test('S16, C 9: what a member gives as a copy counts only if it has written and signed it, in the place of that message', async () => {
  await using world = await MessagingWorld.start()
  const { alice, bob, mallory, team, other, own, lost } = await scene(world)
  const ofAlice = { account: alice.identity.account, authored: await authored(mallory, team, lost.id) }
  const ofMallory = async (by: ReturnType<typeof sealedBy>) => ({
    account: mallory.identity.account,
    authored: (await by).authored,
  })
  const { id } = lost
  const requestKey = await signingKey(newSeed(random))
  const { sequence } = lost
  const madeUp: Record<string, Omit<Copy, 'at'>> = {
    'by somebody else': { sequence, ...ofAlice },
    'in the name of somebody else': {
      sequence,
      account: alice.identity.account,
      authored: (await sealedBy(mallory, team, { id })).authored,
    },
    'under another id': {
      sequence,
      account: mallory.identity.account,
      authored: await authored(mallory, team, own.id),
    },
    'said elsewhere': { sequence, ...(await ofMallory(sealedBy(mallory, other, { id }))) },
    'signed falsely': { sequence, ...(await ofMallory(sealedBy(mallory, team, { id, requestKey }))) },
    'where nothing is': { sequence: sequence + 100, ...(await ofMallory(sealedBy(mallory, team, { id }))) },
    'where something was opened': {
      sequence: own.sequence,
      ...(await ofMallory(sealedBy(mallory, team, { id: own.id }))),
    },
  }
  const before = await bob.historyOf(team)
  const { incarnation } = (await getRow(bob.store, conversationRow, team)) ?? assert.fail()
  const counts = [{ incarnation, room: 0 }]
  for (const [what, copy] of Object.entries(madeUp)) {
    const group = { conversation: team, generation: 1 }
    const content = { kind: 'copies', body: { group, counts, copies: [{ ...copy, at: 1 }] } } as const
    const { outcome } = await mallory.client.postTo(team, content, { signal: never })
    assert.equal((await world.over(outcome)).kind, 'accepted')
    await still()
    assert.deepEqual(await bob.historyOf(team), before, what)
  }
  assert.deepEqual(bob.heard, ['one', 'two'])
  world.server.lie = undefined
  for (const session of world.server.sessionsOf(bob.identity.device)) session.cut()
  await world.pass(60_000)
  assert.deepEqual(bob.heard, ['one', 'two', 'three'], 'its author gives it again')
})

test('I2, U05: what a sibling gives again after the server was restored stands once', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  for (const text of ['one', 'two', 'three']) await alice.say('bob', text)
  const tablet = await world.sibling(alice)
  await world.pass(60_000)
  const said = ['one', 'two', 'three']
  assert.deepEqual(await tablet.texts('bob'), said)
  world.server.copy()()
  await world.pass(300_000)
  await giveAgain(world, alice, tablet)
  assert.deepEqual(await tablet.texts('bob'), said)
})

describe('I1, I2, U05: after the server was restored', () => {
  const said = ['one', 'two', 'three', 'four', 'five', 'six']

  /** Two people of whom the server has forgotten what they said in between: a commit with it, or messages alone. */
  async function forgotten(world: MessagingWorld, { withCommit = true }: { withCommit?: boolean } = {}) {
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'one')
    if (withCommit) await alice.say('bob', 'two')
    else await bob.say('alice', 'two')
    const back = world.server.copy()
    const talkOn = async (): Promise<void> => {
      for (const text of ['three', 'four']) await bob.say('alice', text)
      back()
      await world.pass(300_000)
      for (const text of ['five', 'six']) await alice.say('bob', text)
    }
    return { alice, bob, talkOn }
  }

  for (const [what, withCommit] of [
    ['with a commit', true],
    ['without one', false],
  ] as const)
    test(`a device that is let in has all that was said, once and in its order: forgotten ${what}`, async () => {
      await using world = await MessagingWorld.start()
      const { alice, talkOn } = await forgotten(world, { withCommit })
      await talkOn()
      const tablet = await world.sibling(alice)
      await world.pass(60_000)
      assert.deepEqual(await tablet.texts('bob'), said)
      await alice.say('bob', 'seven')
      world.server.copy()()
      await world.pass(300_000)
      const phone = await world.sibling(alice)
      await world.pass(60_000)
      assert.deepEqual(await phone.texts('bob'), [...said, 'seven'], 'and so has the next one, after another restore')
      await giveAgain(world, tablet, phone)
      assert.deepEqual(await phone.texts('bob'), [...said, 'seven'], 'also of what was itself given')
      await phone.say('bob', 'eight')
      for (const each of [alice, tablet, phone]) assert.equal((await each.texts('bob')).at(-1), 'eight')
    })

  test('what was read by one device only, and is sent again, stands once on each', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob } = await forgotten(world)
    const tablet = await world.sibling(alice)
    await world.pass(60_000)
    await tablet.goOffline()
    const back = world.server.copy()
    world.server.twist = (_, parts) => {
      if (parts.kind === 'application')
        for (const session of world.server.sessionsOf(bob.identity.device)) session.cut()
      return [parts]
    }
    bob.client.send('alice', { text: 'three' }, { signal: never }).catch(() => {})
    await still()
    assert.equal(alice.heard.at(-1), 'three')
    await bob.goOffline()
    world.server.twist = undefined
    back()
    await world.pass(300_000)
    for (const each of [bob, tablet]) await each.comeOnline()
    await world.pass(60_000)
    assert.deepEqual(await tablet.texts('bob'), ['one', 'two', 'three'])
    await giveAgain(world, alice, tablet)
    for (const each of [alice, tablet]) assert.deepEqual(await each.texts('bob'), ['one', 'two', 'three'], each.name)
  })

  test('the history is read page by page across it, to its beginning', async () => {
    await using world = await MessagingWorld.start()
    const { alice, talkOn } = await forgotten(world)
    await talkOn()
    const whole = await alice.history('bob')
    for (const limit of [1, 2, 5]) {
      const read: Item[] = []
      for (let before: number | undefined; ; before = read[0]?.place) {
        const page = await alice.client.history('bob', { limit, before })
        if (page.length === 0) break
        assert.ok(page.length <= limit)
        read.unshift(...page)
      }
      assert.deepEqual(read, whole)
    }
    assert.deepEqual(await alice.client.history('bob', { limit: 0 }), [])
  })

  test('a device that was away is given what it lacks in the place where it was said', async () => {
    await using world = await MessagingWorld.start()
    const { alice, talkOn } = await forgotten(world)
    const tablet = await world.sibling(alice)
    await world.pass(60_000)
    await tablet.goOffline()
    await talkOn()
    await tablet.comeOnline()
    await world.pass(60_000)
    assert.deepEqual(await tablet.texts('bob'), ['one', 'two', 'five', 'six'])
    await giveAgain(world, alice, tablet)
    assert.deepEqual(await tablet.texts('bob'), said)
  })

  test('a device that was away for a whole course of the server is given that too', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, talkOn } = await forgotten(world)
    const tablet = await world.sibling(alice)
    await world.pass(60_000)
    const back = world.server.copy()
    await tablet.goOffline()
    await talkOn()
    back()
    await world.pass(300_000)
    await bob.say('alice', 'seven')
    await tablet.comeOnline()
    await world.pass(60_000)
    await giveAgain(world, alice, tablet)
    assert.deepEqual(await tablet.texts('bob'), [...said, 'seven'])
  })
})

/** What a device has goes to another one of the account as if that had just been let in. */
async function giveAgain(world: MessagingWorld, from: Device, to: Device): Promise<void> {
  await from.goOffline()
  const { device } = to.identity
  const body = { device, isAdmitted: true, isManager: false, contact: undefined, history: undefined }
  await from.store.commit([putRow(errandRow, newcomerKey(device), { kind: 'newcomer', body })], from.store.revision)
  await from.comeOnline()
  await world.pass(300_000)
  assert.equal(await getRow(from.store, errandRow, newcomerKey(device)), undefined, 'it was given again')
}

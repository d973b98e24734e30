import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ConversationId, RefusedError } from '@messageu/protocol/v3'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'

/** Time enough to find out, to begin anew and to bring everybody in. */
const mendedMs = 5 * 60_000
/** After so long the next message takes new keys with it, by a commit. */
const keysMs = 8 * 86_400_000
/** Less than is waited for. */
const heldMs = 5_000

async function offline(...people: readonly Device[]): Promise<void> {
  for (const each of people) await each.goOffline()
}

async function online(...people: readonly Device[]): Promise<void> {
  for (const each of people) await each.comeOnline()
}

/** Everybody of them says something, and it is the last that everybody has. */
async function allTalk(group: ConversationId, ...people: readonly Device[]): Promise<void> {
  for (const each of people) await each.sayTo(group, `by ${each.name}`)
  const said = people.map(({ name }) => `by ${name}`)
  for (const each of people) {
    const texts = (await each.historyOf(group)).flatMap((item) =>
      item.kind === 'message' && item.content.kind === 'text' ? [item.content.body.text] : [],
    )
    assert.deepEqual(texts.slice(-said.length), said, each.name)
  }
}

describe('U05: after the server was restored from a copy that knows nothing of it', () => {
  test('a pair goes on in its conversation, and has what was said before', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const back = world.server.copy()
    await alice.say('bob', 'one')
    await bob.say('alice', 'two')
    back()
    await world.pass(mendedMs)
    await alice.say('bob', 'three')
    await bob.say('alice', 'four')
    for (const [each, other] of [
      [alice, 'bob'],
      [bob, 'alice'],
    ] as const)
      assert.deepEqual(await each.texts(other), ['one', 'two', 'three', 'four'], each.name)
    assert.equal(world.server.ledgers.size, 1)
  })

  test('a group goes on with everybody in it, whoever is first', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const back = world.server.copy()
    const group = await world.group(alice, 'team', bob, carol)
    await offline(alice, carol)
    back()
    await world.pass(mendedMs)
    await online(alice, carol)
    await world.pass(mendedMs)
    for (const each of [alice, bob, carol]) assert.deepEqual(await each.members(group), ['alice', 'bob', 'carol'])
    await allTalk(group, alice, bob, carol)
  })

  test('notes to oneself go on', async () => {
    await using world = await MessagingWorld.start()
    const alice = await world.person('alice')
    const back = world.server.copy()
    await alice.say('me', 'one')
    back()
    await world.pass(mendedMs)
    await alice.say('me', 'two')
    assert.deepEqual(await alice.texts('me'), ['one', 'two'])
  })

  test('a pair has one conversation, also where the other side has begun another one meanwhile', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const back = world.server.copy()
    await offline(bob)
    const { conversation: lost } = await alice.say('bob', 'one')
    await offline(alice)
    back()
    await online(bob)
    await bob.say('alice', 'two')
    await online(alice)
    await world.pass(mendedMs)
    await alice.say('bob', 'three')
    for (const [each, other] of [
      [alice, 'bob'],
      [bob, 'alice'],
    ] as const)
      assert.deepEqual(await each.texts(other), ['two', 'three'], each.name)
    assert.equal((await alice.client.describe(lost))?.standing, 'removed')
    assert.equal(alice.told('stuck').length, 1, 'the user is told what has become of the other one')
  })

  test('a request stays silent: whoever has not accepted it begins nothing', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    const back = world.server.copy()
    const group = await world.group(alice, 'team', bob)
    await offline(alice)
    back()
    await world.pass(mendedMs)
    assert.equal((await bob.client.describe(group))?.standing, 'request')
    assert.equal(world.server.ledger(group), undefined)
  })

  test('whom one of the own devices has written to asks for nothing on the others any more', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    const tablet = await world.sibling(bob)
    const party = await world.group(alice, 'party', bob)
    await alice.say('#party', 'come in')
    await tablet.goOffline()
    const back = world.server.copy()
    await bob.say('alice', 'who are you?')
    await alice.goOffline()
    back()
    await world.pass(mendedMs)
    await online(alice, tablet)
    await world.pass(mendedMs)
    assert.equal((await tablet.client.describe(party))?.standing, 'active')
    assert.deepEqual(tablet.heard, ['come in'])
    await allTalk(party, alice, bob, tablet)
  })
})

describe('U05: what the user has decided about somebody, and a restored server has forgotten,', () => {
  test('it is told again', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob] = await world.people('mallory', 'bob')
    const back = world.server.copy()
    await world.over(bob.client.judge('mallory', 'block', { signal: never }))
    back()
    await world.pass(mendedMs)
    await assert.rejects(mallory.say('bob', 'may I?'), { reason: 'not-permitted' })
    assert.deepEqual(bob.told('request'), [])
  })

  test('reaches the own devices that had not heard of it', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    const tablet = await world.sibling(bob)
    const party = await world.group(alice, 'party', bob)
    await alice.say('#party', 'come in')
    await tablet.goOffline()
    const back = world.server.copy()
    await world.over(bob.client.judge('alice', 'accept', { signal: never }))
    back()
    await world.pass(mendedMs)
    await tablet.comeOnline()
    await world.pass(1_000)
    assert.equal((await tablet.client.describe(party))?.standing, 'active')
    assert.deepEqual(tablet.heard, ['come in'])
    await allTalk(party, alice, bob, tablet)
  })

  test('does not stand against what was decided since on another of the own devices', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob] = await world.people('mallory', 'bob')
    const tablet = await world.sibling(bob)
    await tablet.goOffline()
    const back = world.server.copy()
    await world.over(bob.client.judge('mallory', 'accept', { signal: never }))
    await bob.goOffline()
    back()
    await tablet.comeOnline()
    await world.over(tablet.client.judge('mallory', 'block', { signal: never }))
    await world.comeSlowly(bob, heldMs)
    await world.pass(mendedMs)
    await assert.rejects(mallory.say('bob', 'may I?'), { reason: 'not-permitted' })
  })
})

describe('U05: after the server was restored to when others were in a group', () => {
  for (const { title, change, members } of [
    {
      title: 'it goes on with those who have come since',
      change: (alice: Device) => alice.client.addPeople('#team', ['dave', 'erin'], { signal: never }),
      members: ['alice', 'bob', 'carol', 'dave', 'erin'],
    },
    {
      title: 'it goes on without those who have gone since',
      change: (alice: Device) => alice.client.removePeople('#team', ['bob', 'carol'], { signal: never }),
      members: ['alice'],
    },
  ])
    test(title, async () => {
      await using world = await MessagingWorld.start()
      const [alice, bob, carol, dave, erin] = await world.people('alice', 'bob', 'carol', 'dave', 'erin')
      await world.acquaint(alice, bob, carol, dave, erin)
      const group = await world.group(alice, 'team', bob, carol)
      const back = world.server.copy()
      await world.over<unknown>(change(alice))
      back()
      await world.pass(mendedMs)
      const there = world.devices.filter(({ name }) => members.includes(name))
      for (const each of there) assert.deepEqual(await each.members(group), members, each.name)
      for (const each of world.devices) {
        const isActive = (await each.client.describe(group))?.standing === 'active'
        assert.equal(isActive, there.includes(each), each.name)
      }
      await allTalk(group, ...there)
    })

  for (const { title, isRemoved } of [
    { title: 'it goes on with whoever came back by the words since', isRemoved: false },
    { title: 'it goes on without whoever has gone since, also if they came back by the words', isRemoved: true },
  ])
    test(title, async () => {
      await using world = await MessagingWorld.start()
      const [alice, bob] = await world.people('alice', 'bob')
      const { first, recovered } = await world.personWithWords('carol')
      await world.acquaint(alice, bob, first)
      const group = await world.group(alice, 'team', bob, first)
      await first.goOffline()
      const back = world.server.copy()
      const carol = await recovered()
      await world.pass(mendedMs)
      if (isRemoved) await world.over(alice.client.removePeople('#team', ['carol'], { signal: never }))
      await offline(alice, bob)
      back()
      await world.pass(mendedMs)
      await online(alice, bob)
      await world.pass(mendedMs)
      const there = isRemoved ? [alice, bob] : [alice, bob, carol]
      const names = isRemoved ? ['alice', 'bob'] : ['alice', 'bob', 'carol']
      for (const each of there) assert.deepEqual(await each.members(group), names, each.name)
      await allTalk(group, ...there)
    })

  test('and others have said something, whoever finds that commits are lost has that first', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob)
    await bob.sayTo(group, 'with keys of my own')
    await offline(bob)
    const back = world.server.copy()
    await world.over(alice.client.addPeople('#team', ['carol'], { signal: never }))
    await offline(alice)
    back()
    await online(bob)
    await bob.sayTo(group, 'nobody else is here')
    await world.comeSlowly(alice, heldMs)
    await world.pass(mendedMs)
    assert.deepEqual(await alice.members(group), ['alice', 'bob', 'carol'])
    assert.deepEqual(await alice.texts('#team'), ['with keys of my own', 'nobody else is here'])
    assert.deepEqual(alice.kinds('unopened'), [])
    await allTalk(group, alice, bob, carol)
  })

  describe('and it was begun anew without somebody', () => {
    async function leftOut(world: MessagingWorld, { hasSpoken }: { hasSpoken: boolean }) {
      const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
      await world.acquaint(alice, bob, carol)
      const group = await world.group(alice, 'team', bob, carol)
      if (hasSpoken) await bob.sayTo(group, 'with keys of my own')
      await bob.goOffline()
      const back = world.server.copy()
      await world.over(alice.client.removePeople('#team', ['bob'], { signal: never }))
      await offline(alice, carol)
      back()
      await online(bob)
      await world.pass(1_000)
      await offline(bob)
      await online(alice, carol)
      await world.pass(mendedMs)
      assert.deepEqual(await alice.members(group), ['alice', 'carol'])
      await online(bob)
      return { bob, group }
    }

    test('they know it once they say something', async () => {
      await using world = await MessagingWorld.start()
      const { bob, group } = await leftOut(world, { hasSpoken: true })
      const say = () => world.over(bob.client.sendTo(group, { text: 'is anybody here?' }, { signal: never }))
      await assert.rejects(say(), { reason: 'not-permitted' })
      const began = world.clock.monotonicMs()
      await assert.rejects(say(), { reason: 'not-a-member' })
      assert.ok(world.clock.monotonicMs() - began < limits.placeMs, 'nobody waits for what may never come')
      assert.equal((await bob.client.describe(group))?.standing, 'active', 'it may have been taken out')
      await world.pass(mendedMs)
      assert.equal((await bob.client.describe(group))?.standing, 'waiting')
      assert.equal(bob.told('stuck').length, 1)
    })

    test('they know it once they would replace their keys', async () => {
      await using world = await MessagingWorld.start()
      const { bob, group } = await leftOut(world, { hasSpoken: false })
      await world.pass(mendedMs)
      assert.equal((await bob.client.describe(group))?.standing, 'waiting')
      assert.equal(bob.told('stuck').length, 1)
    })
  })

  test('and others have gone on, nobody takes the other commits for a fork, and whoever is not in it knows it', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol, dave] = await world.people('alice', 'bob', 'carol', 'dave')
    await world.acquaint(alice, bob, carol, dave)
    const group = await world.group(alice, 'team', bob, carol)
    await offline(carol)
    const back = world.server.copy()
    await world.over(alice.client.addPeople('#team', ['dave'], { signal: never }))
    await offline(alice, bob, dave)
    back()
    await online(carol)
    for (const text of ['one', 'two', 'three']) {
      world.clock.jump(keysMs)
      await carol.sayTo(group, text)
    }
    await online(alice, bob, dave)
    await world.pass(mendedMs)
    for (const each of world.devices) assert.deepEqual(each.told('fork'), [], each.name)
    for (const each of [alice, bob, carol]) assert.deepEqual(await each.members(group), ['alice', 'bob', 'carol'])
    assert.equal((await dave.client.describe(group))?.standing, 'waiting')
    assert.equal(dave.told('stuck').length, 1)
    await allTalk(group, alice, bob, carol)
  })
})

describe('U05: after the server was restored, and a conversation was begun anew without a device that was away', () => {
  test('the device takes its place by itself', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const tablet = await world.sibling(bob)
    const { conversation } = await alice.say('bob', 'before')
    const back = world.server.copy()
    await bob.say('alice', 'by new keys')
    await offline(tablet)
    const { device } = tablet.identity
    world.server.shelf.of(device).splice(0)
    world.server.lie = (name, _body, asking) =>
      name === 'publish' && asking.device !== undefined && same(asking.device, device)
        ? { kind: 'refuse', error: new RefusedError('storage-full', 'no room') }
        : undefined
    back()
    await world.pass(mendedMs)
    assert.equal(world.server.ledger(conversation)?.isOnRoster(device), false)
    await online(tablet)
    await world.pass(mendedMs)
    assert.equal(world.server.ledger(conversation)?.isOnRoster(device), true)
    await tablet.say('alice', 'by the tablet')
    assert.equal(alice.heard.at(-1), 'by the tablet')
  })
})

describe('U05: a title that a restored server has forgotten', () => {
  async function renamed(world: MessagingWorld) {
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    await world.over(alice.client.appoint('#team', ['alice', 'bob'], { signal: never }))
    await offline(carol)
    const back = world.server.copy()
    await world.over(alice.client.rename('#team', 'crew', { signal: never }))
    await offline(alice, bob)
    back()
    const titles = () => Promise.all(world.devices.map(async ({ client }) => (await client.describe(group))?.title))
    return { alice, bob, carol, group, titles }
  }

  test('comes to those who had not read it', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, carol, titles } = await renamed(world)
    await online(carol, alice, bob)
    await world.pass(mendedMs)
    assert.deepEqual(await titles(), ['crew', 'crew', 'crew'])
  })

  test('or that was given in what has ended since, comes to those who could not read it', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    await world.over(alice.client.appoint('#team', ['alice', 'bob'], { signal: never }))
    await bob.sayTo(group, 'with keys of my own')
    await offline(bob)
    const back = world.server.copy()
    // whoever has taken somebody out has no keys of before
    await world.over(alice.client.removePeople('#team', ['carol'], { signal: never }))
    await offline(alice)
    back()
    await online(bob)
    await world.over(bob.client.rename('#team', 'crew', { signal: never }))
    await online(alice)
    await world.pass(mendedMs)
    for (const each of [alice, bob]) assert.equal((await each.client.describe(group))?.title, 'crew', each.name)
  })

  test('does not come back behind one that was given since', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, carol, titles } = await renamed(world)
    await online(bob)
    await world.over(bob.client.rename('#crew', 'gang', { signal: never }))
    await world.comeSlowly(alice, heldMs)
    await online(carol)
    await world.pass(mendedMs)
    assert.deepEqual(await titles(), ['gang', 'gang', 'gang'])
  })

  test('that it has not forgotten is not repeated', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await world.group(alice, 'team', bob)
    world.server.copy()()
    await world.pass(mendedMs)
    const titles = (await bob.history('#team')).filter(
      (item) => item.kind === 'message' && item.content.kind === 'title',
    )
    assert.equal(titles.length, 1)
  })
})

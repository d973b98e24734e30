import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ConversationId, type Signature, toBase64url } from '@messageu/protocol/v3'
import { sameBytes } from '../../src/bytes.ts'
import { never } from '../world.ts'
import { type Device, MessagingWorld } from './people.ts'
import { spoil } from './spoiling.ts'

describe('who leaves a group', () => {
  test('is taken out at once by an owner who is online, and by anybody once a minute has passed', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol, dave] = await world.people('alice', 'bob', 'carol', 'dave')
    await world.acquaint(alice, bob, carol, dave)
    const group = await world.group(alice, 'team', bob, carol, dave)
    await world.over(carol.client.leave('#team', { signal: never }))
    await world.pass(1)
    assert.deepEqual(await bob.members(group), ['alice', 'bob', 'dave'])

    await alice.goOffline()
    await world.over(dave.client.leave('#team', { signal: never }))
    await world.pass(1)
    assert.deepEqual(await bob.members(group), ['alice', 'bob', 'dave'])
    await bob.goOffline()
    world.clock.jump(60_000)
    await bob.comeOnline()
    assert.deepEqual(await bob.members(group), ['alice', 'bob'], 'a short visit is enough')
  })

  test('may be brought back, and what it once said takes it out no more', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    await world.over(carol.client.leave('#team', { signal: never }))
    await world.pass(120_000)
    await world.over(alice.client.addPeople('#team', ['carol'], { signal: never }))
    await world.pass(120_000)
    for (const each of [bob, alice, carol]) await each.sayTo(group, `by ${each.name}`)
    await world.pass(120_000)
    assert.deepEqual(await alice.members(group), ['alice', 'bob', 'carol'])
    assert.deepEqual(carol.heard, ['by bob', 'by alice'])
  })

  test('with a device that is taken off afterwards, is out all the same, and nobody’s messages wait for it', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    const laptop = await world.sibling(carol)
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    await alice.goOffline()
    await bob.goOffline()
    await world.over(laptop.client.leave('#team', { signal: never }))
    await world.over(carol.client.dropDevice(laptop.identity.device, { signal: never }))
    await bob.comeOnline()
    await bob.sayTo(group, 'who is here?')
    await world.pass(120_000)
    await alice.comeOnline()
    await world.pass(120_000)
    assert.deepEqual(alice.heard, ['who is here?'])
    assert.deepEqual(await bob.members(group), ['alice', 'bob'])
  })

  test('with a dozen others at once, is taken out with them', async () => {
    await using world = await MessagingWorld.start()
    const alice = await world.person('alice')
    const others = await world.people(...Array.from({ length: 12 }, (_, i) => `guest ${i}`))
    await world.acquaint(alice, ...others)
    const group = await world.group(alice, 'party', ...others)
    await alice.goOffline()
    await world.over(Promise.all(others.map((each) => each.client.leave('#party', { signal: never }))))
    await alice.comeOnline()
    await alice.sayTo(group, 'is anybody still here?')
    assert.deepEqual(await alice.members(group), ['alice'])
  })

  test('leaves with every device, also those that are offline, and the server hears it from any', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    const laptop = await world.sibling(bob)
    const tablet = await world.sibling(bob)
    await world.acquaint(alice, bob)
    const group = await world.group(alice, 'team', bob)
    await tablet.goOffline()
    await alice.goOffline()
    const bobs = bob.identity.device
    world.server.lie = (name, _, session) =>
      name === 'leave' && sameBytes(session.proved(), bobs) ? { kind: 'silence' } : undefined
    const leaving = bob.client.leave('#team', { signal: never })
    leaving.catch(() => {})
    await world.pass(1)
    await bob.goOffline()
    await world.pass(1)
    assert.equal((await laptop.client.describe(group))?.standing, 'left')
    assert.ok(world.server.ledger(group)?.left.has(toBase64url(bob.identity.account)))
    await tablet.comeOnline()
    assert.equal((await tablet.client.describe(group))?.standing, 'left')
    await assert.rejects(tablet.client.sendTo(group, { text: 'still here' }, { signal: never }), {
      reason: 'not-a-member',
    })
    await alice.comeOnline()
    await world.over(alice.client.addPeople('#team', ['bob'], { signal: never }))
    await alice.sayTo(group, 'welcome back')
    assert.deepEqual(laptop.heard, ['welcome back'])
    assert.deepEqual(tablet.heard, ['welcome back'])
  })

  test('says so by a signature: one that nobody could show in a commit is not shown, and hinders nobody', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    const departure = new Uint8Array(64) as Signature
    for (const epoch of [1, 2 ** 40]) {
      const posted = await carol.client.postTo(group, { kind: 'leave', body: { epoch, departure } }, { signal: never })
      await world.over(posted.outcome)
    }
    await world.pass(120_000)
    for (const each of [bob, alice]) await each.sayTo(group, `by ${each.name}`)
    assert.deepEqual(await alice.members(group), ['alice', 'bob', 'carol'])
    assert.deepEqual(carol.heard, ['by bob', 'by alice'])
    assert.equal(bob.kinds('unopened').length, 2)
  })

  test('does not come back when the group is begun anew', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol, dave, erin] = await world.people('alice', 'bob', 'carol', 'dave', 'erin')
    const people = [alice, bob, carol, dave, erin]
    await world.acquaint(...people)
    const group = await world.group(alice, 'team', bob, carol, dave, erin)
    await world.over(Promise.all([carol, dave].map((each) => each.client.leave('#team', { signal: never }))))
    await breakApart(world, bob, group)
    for (const each of [alice, bob, erin]) await each.sayTo(group, `by ${each.name}`)
    for (const each of [alice, bob, erin])
      assert.deepEqual(await each.members(group), ['alice', 'bob', 'erin'], each.name)
    assert.deepEqual(alice.heard, ['by bob', 'by erin'])
    assert.deepEqual([...carol.heard, ...dave.heard], [])
    for (const each of [carol, dave]) assert.equal((await each.client.describe(group))?.standing, 'left', each.name)
  })

  test('or refuses to come, does not keep a group from beginning anew', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob)
    const group = await world.group(alice, 'team', bob, carol)
    await world.over(carol.client.judge('alice', 'refuse', { signal: never }))
    await breakApart(world, bob, group)
    for (const each of [alice, bob]) await each.sayTo(group, `by ${each.name}`)
    assert.deepEqual(alice.heard, ['by bob'])
    assert.deepEqual(carol.heard, [])
  })
})

test('who was refused can be written to later', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await alice.say('bob', 'hello')
  await world.over(bob.client.judge('alice', 'refuse', { signal: never }))
  await bob.say('alice', 'it is you!')
  await alice.say('bob', 'yes')
  assert.deepEqual(alice.heard, ['it is you!'])
  assert.deepEqual(bob.heard.slice(-1), ['yes'])
})

test('who was refused and is accepted after all can write', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  const laptop = await world.sibling(bob)
  await alice.say('bob', 'hello')
  await world.over(bob.client.judge('alice', 'refuse', { signal: never }))
  await world.over(bob.client.judge('alice', 'accept', { signal: never }))
  await alice.say('bob', 'thank you')
  await bob.say('alice', 'sorry')
  assert.deepEqual(bob.heard.slice(-1), ['thank you'])
  assert.deepEqual(laptop.heard.slice(-2), ['thank you', 'sorry'])
  assert.deepEqual(alice.heard, ['sorry'])
})

/** A member commits what nobody can apply, and what they could come back by. */
async function breakApart(world: MessagingWorld, by: Device, group: ConversationId): Promise<void> {
  const before = world.server.ledger(group)?.generation ?? 0
  const { stop } = spoil(world.server, by.identity.device, ['commit', 'groupInfo'])
  world.clock.jump(8 * 86_400_000)
  by.client.sendTo(group, { text: 'broken' }, { signal: never }).catch(() => {})
  await world.pass(2_000)
  stop()
  await world.pass(600_000)
  assert.ok((world.server.ledger(group)?.generation ?? 0) > before)
}

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, encode } from '@messageu/protocol'
import { DeliveredCommit } from '@messageu/protocol/v3'
import { Client } from '../../src/messaging/client.ts'
import type { Known } from '../../src/messaging/finding.ts'
import { never } from '../world.ts'
import { damageNext } from './interception.ts'
import { same } from './ledger.ts'
import { MessagingWorld } from './people.ts'
import { flipped } from './spoiling.ts'
import { still } from './stillness.ts'

describe('S09: what strangers bring somebody into', () => {
  test('is silent and sends nothing, not even after a commit that cannot be applied', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob] = await world.people('mallory', 'bob')
    const group = await world.group(mallory, 'party', bob)
    assert.equal((await bob.client.describe(group))?.standing, 'request')
    world.server.twist = (to, parts) => {
      if (parts.kind !== 'commit' || !same(to, bob.identity.device) || parts.sealed === undefined) return [parts]
      const commit = decode(DeliveredCommit, parts.sealed)
      commit.commit[commit.commit.length - 1] = (commit.commit.at(-1) ?? 0) ^ 1
      return [{ ...parts, sealed: encode(DeliveredCommit, commit) }]
    }
    await world.person('eve')
    const adding = mallory.client.addPeople('#party', ['eve'], { signal: never })
    await world.over(adding)
    await mallory.say('#party', 'come in')
    await world.pass(120_000)
    const sent = world.server.log.filter(({ device }) => same(device, bob.identity.device))
    assert.equal(sent.length, 0)
    assert.equal((await bob.client.describe(group))?.standing, 'request')
    assert.deepEqual(bob.heard, [])
    world.server.twist = undefined
    await bob.client.judge('mallory', 'accept', { signal: never })
    await world.pass(120_000)
    assert.equal((await bob.client.describe(group))?.standing, 'active')
    assert.deepEqual([bob.told('stuck').length, bob.told('rejoined').length], [0, 1], 'it was known, and not told')
    await bob.say('#party', 'hello')
    assert.deepEqual(mallory.heard, ['hello'])
    await still()
  })
})

test('C 11, D 4: a request stays one where the stranger begins it anew, and may be accepted then', async () => {
  await using world = await MessagingWorld.start()
  const [mallory, bob] = await world.people('mallory', 'bob')
  const back = world.server.copy()
  const group = await world.group(mallory, 'party', bob)
  await mallory.sayTo(group, 'come in')
  back()
  await world.pass(5 * 60_000)
  assert.equal(world.server.ledger(group)?.isOnRoster(bob.identity.device), true)
  assert.equal((await bob.client.describe(group))?.standing, 'request')
  assert.equal(bob.told('request').length, 1)
  assert.deepEqual(bob.heard, [])
  await world.over(bob.client.judge('mallory', 'accept', { signal: never }))
  await mallory.sayTo(group, 'here you are')
  assert.deepEqual(bob.heard, ['come in', 'here you are'])
})

test('C 8, C 11: a request tells of nothing else, not even that somebody there has seen something different', async () => {
  await using world = await MessagingWorld.start()
  const [mallory, bob] = await world.people('mallory', 'bob')
  const group = await world.group(mallory, 'party', bob)
  damageNext(world.server, bob.identity.device, flipped)
  for (const text of ['one', 'two']) await mallory.sayTo(group, text)
  assert.deepEqual(
    bob.shown.map((each) => each.kind === 'told' && each.told.kind),
    ['request'],
  )
})

describe('whoever decides about a request before having read of it', () => {
  for (const verdict of ['accept', 'refuse'] as const)
    test(`reads no more that somebody wants to write: ${verdict}`, async () => {
      await using world = await MessagingWorld.start()
      const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
      await bob.goOffline()
      await alice.say('bob', 'may I?')
      await carol.say('bob', 'may I as well?')
      const { store } = bob
      await using client = await Client.connect({ store, world: world.world, signal: never })
      await world.over(client.caughtUp({ signal: never }))
      await world.over(client.judge('alice', verdict, { signal: never }))
      const [told = []] = await Array.fromAsync(client.arrivals({ signal: never, untilCaughtUp: true }))
      const texts = told.flatMap((each) =>
        each.kind === 'message' && each.content.kind === 'text' ? each.content.body.text : [],
      )
      assert.deepEqual(texts, verdict === 'accept' ? ['may I?'] : [])
      const asking = told.flatMap((each) => (each.kind === 'told' && each.told.kind === 'request' ? each.names : []))
      assert.deepEqual(
        asking.map(({ name }) => name),
        ['carol'],
      )
    })
})

describe('I1: what was said in a request is shown, whichever way it was accepted', () => {
  test('by writing to them', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.group(alice, 'party', bob)
    await alice.say('#party', 'come in')
    await world.over(bob.client.send('alice', { text: 'who are you?' }, { signal: never }))
    await still()
    assert.deepEqual(bob.heard, ['come in'])
    await alice.say('#party', 'sit down')
    assert.deepEqual(bob.heard, ['come in', 'sit down'])
  })

  test('by bringing them into a group', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await alice.say('bob', 'may I?')
    await world.group(bob, 'team', alice)
    await still()
    assert.deepEqual(bob.heard, ['may I?'])
    await world.group(alice, 'party', bob)
    await alice.say('#party', 'come in')
    assert.deepEqual(bob.heard, ['may I?', 'come in'])
  })

  test('on another of the own devices, while this one was away', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    const tablet = await world.sibling(bob)
    await tablet.goOffline()
    await alice.say('bob', 'may I?')
    await world.group(alice, 'party', bob)
    await alice.say('#party', 'come in')
    await bob.client.judge('alice', 'accept', { signal: never })
    await world.pass(60_000)
    await tablet.comeOnline()
    await world.pass(1_000)
    assert.deepEqual(tablet.heard.toSorted(), ['come in', 'may I?'])
  })

  test('when it was over before: by whoever was removed from a group while it was a request', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob] = await world.people('mallory', 'bob')
    await world.group(mallory, 'party', bob)
    await mallory.say('#party', 'come in')
    await world.over(mallory.client.removePeople('#party', ['bob'], { signal: never }))
    await still()
    assert.deepEqual(bob.kinds('change'), [], 'it is as silent as it was')
    const [over] = await Array.fromAsync(groupsOf(bob.client))
    assert.equal(over?.standing, 'withdrawn')
    await world.over(bob.client.judge('mallory', 'accept', { signal: never }))
    await still()
    assert.deepEqual(bob.heard, ['come in'])
    assert.deepEqual(
      bob.shown.flatMap((each) => (each.kind === 'change' ? [each.by.name, each.change] : [])),
      ['mallory', 'remove'],
    )
    const [after] = await Array.fromAsync(groupsOf(bob.client))
    assert.equal(after?.standing, 'removed')
  })

  test('when it was over and begun again: all of it, once', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob] = await world.people('mallory', 'bob')
    await world.group(mallory, 'party', bob)
    await mallory.say('#party', 'come in')
    await world.over(mallory.client.removePeople('#party', ['bob'], { signal: never }))
    await world.over(mallory.client.addPeople('#party', ['bob'], { signal: never }))
    await mallory.say('#party', 'come back')
    await world.over(bob.client.judge('mallory', 'accept', { signal: never }))
    await still()
    assert.deepEqual(bob.heard, ['come in', 'come back'])
    assert.equal(bob.told('request').length, 1)
  })

  test('by somebody accepted who brings this device in again', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob, carol] = await world.people('mallory', 'bob', 'carol')
    await world.acquaint(bob, carol)
    await world.group(mallory, 'party', bob)
    await world.over(mallory.client.addPeople('#party', ['carol'], { signal: never }))
    await world.over(carol.client.judge('mallory', 'accept', { signal: never }))
    await world.over(mallory.client.appoint('#party', ['mallory', 'carol'], { signal: never }))
    await mallory.say('#party', 'come in')
    await world.over(mallory.client.removePeople('#party', ['bob'], { signal: never }))
    assert.deepEqual(bob.heard, [])
    await world.over(carol.client.addPeople('#party', ['bob'], { signal: never }))
    await still()
    assert.deepEqual(bob.heard, ['come in'])
  })

  test('and what was shown before a stranger brought this device in again is shown no second time', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, mallory] = await world.people('alice', 'bob', 'mallory')
    await world.acquaint(alice, bob, mallory)
    await world.over(bob.client.judge('mallory', 'unblock', { signal: never }))
    await world.group(alice, 'team', bob, mallory)
    await world.over(alice.client.appoint('#team', ['alice', 'mallory'], { signal: never }))
    await alice.say('#team', 'hello')
    await world.over(alice.client.removePeople('#team', ['bob'], { signal: never }))
    await world.over(mallory.client.addPeople('#team', ['bob'], { signal: never }))
    await mallory.say('#team', 'back again')
    assert.deepEqual(bob.heard, ['hello'])
    await world.over(bob.client.judge('mallory', 'accept', { signal: never }))
    await still()
    assert.deepEqual(bob.heard, ['hello', 'back again'])
  })

  test('and whoever refuses reads nothing of it, and leaves nothing that is over', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob] = await world.people('mallory', 'bob')
    await world.group(mallory, 'party', bob)
    await mallory.say('#party', 'come in')
    await world.over(mallory.client.removePeople('#party', ['bob'], { signal: never }))
    await world.over(bob.client.judge('mallory', 'refuse', { signal: never }))
    await still()
    assert.deepEqual(bob.heard, [])
    const [party] = await Array.fromAsync(groupsOf(bob.client))
    assert.equal(party?.standing, 'left')
  })
})

async function* groupsOf(client: Client): AsyncGenerator<Known> {
  for await (const known of client.conversations()) if (known.kind === 'group') yield known
}

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ClientError } from '../../src/errors.ts'
import { never } from '../world.ts'
import { continueWith, recordFor, withholdCommits } from './interception.ts'
import { same } from './ledger.ts'
import { MessagingWorld } from './people.ts'
import { spoil } from './spoiling.ts'
import { still } from './stillness.ts'

const dayMs = 86_400_000

describe('S06: members who are given different commits for one epoch', () => {
  test('never merge, are told, and find together again', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol, dave] = await world.people('alice', 'bob', 'carol', 'dave')
    await world.acquaint(alice, bob, carol, dave)
    const group = await world.group(alice, 'team', bob, carol, dave)
    const apart = [carol, dave]
    const kept = recordFor(world.server, bob.identity.device)
    world.server.leadApart(
      group,
      apart.map(({ identity }) => identity.device),
    )
    for (const { client, name } of [alice, carol]) {
      await client.sendTo(group, { text: `to everybody by ${name}` }, { signal: never })
      world.clock.jump(8 * dayMs) // keys are renewed before the next message, by a commit
      await client.sendTo(group, { text: `to some by ${name}` }, { signal: never })
    }
    await still()
    assert.deepEqual(bob.heard, ['to everybody by alice', 'to some by alice'])
    assert.deepEqual(dave.heard, ['to everybody by carol', 'to some by carol'])

    world.server.twist = undefined
    world.server.leadTogether(group)
    const ends = apart.map(({ identity }) => continueWith(world.server, identity.device, kept))
    const ledger = world.server.ledger(group)
    if (ledger !== undefined) ledger.sequence = Math.max(...ends)
    await world.pass(180_000)
    for (const each of apart) {
      assert.ok(each.told('fork').length > 0, `${each.name} is not told`)
      assert.ok(!each.heard.includes('to some by alice'), `${each.name} has merged`)
    }
    await alice.say('#team', 'together')
    for (const each of [bob, carol, dave]) assert.equal(each.heard.at(-1), 'together')
    await carol.say('#team', 'again')
    for (const each of [alice, bob, dave]) assert.equal(each.heard.at(-1), 'again')
  })

  test('the one who sees the other commit rejoins by itself, before anything else is said', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    for (const each of [alice, bob, carol]) await each.sayTo(group, 'with keys of my own')
    const kept = recordFor(world.server, bob.identity.device)
    world.server.leadApart(group, [carol.identity.device])
    for (const each of [alice, carol]) {
      world.clock.jump(8 * dayMs) // keys are renewed before the next message, by a commit
      await each.sayTo(group, `by ${each.name}`)
    }
    world.server.twist = undefined
    world.server.leadTogether(group)
    const other = kept.filter(({ kind }) => kind === 'commit')
    const end = continueWith(world.server, carol.identity.device, other)
    const ledger = world.server.ledger(group) ?? assert.fail()
    ledger.sequence = Math.max(ledger.sequence, end)
    await world.pass(10_000)
    assert.deepEqual([carol.told('fork').length, carol.told('rejoined').length], [1, 1])
    await alice.sayTo(group, 'together')
    assert.equal(carol.heard.at(-1), 'together')
  })
})

describe('S07: a server that withholds commits from one member', () => {
  test('a removal: the member finds out by the next message, and nothing reaches the one who was removed', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    await bob.sayTo(group, 'hello')
    withholdCommits(world.server, bob.identity.device)
    await world.over(alice.client.removePeople('#team', ['carol'], { signal: never }))
    const { outcome } = await bob.client.postTo(
      group,
      { kind: 'text', body: { text: 'are we alone?' } },
      { signal: never },
    )
    await world.pass(10_000)
    assert.deepEqual(carol.heard, ['hello'])
    world.server.twist = undefined
    await alice.say('#team', 'she is out')
    await world.pass(180_000)
    assert.equal((await world.over(outcome)).kind, 'accepted')
    assert.deepEqual(alice.heard, ['hello', 'are we alone?'])
    assert.deepEqual(carol.heard, ['hello'])
    assert.equal(bob.told('stuck').length, 1)
    assert.deepEqual(await bob.members(group), ['alice', 'bob'])
    assert.ok((await bob.texts('#team')).includes('are we alone?'))
  })

  test('its own: whoever waits for it is told, and nothing else is held up', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const [dark, light] = [await world.group(alice, 'dark', bob), await world.group(alice, 'light', bob)]
    for (const group of [dark, light]) await bob.sayTo(group, 'before')
    const { stop } = spoil(world.server, bob.identity.device, ['commit'])
    for (const group of [dark, light]) {
      world.clock.jump(8 * dayMs)
      bob.client.sendTo(group, { text: 'never' }, { signal: never }).catch(() => {})
    }
    await world.pass(100)
    stop()
    assert.ok(alice.told('stuck').length >= 2)
    world.server.twist = (to, parts) => {
      const isDark = parts.conversation !== undefined && same(parts.conversation, dark)
      return isDark && same(to, alice.identity.device) && parts.kind === 'commit' ? [] : [parts]
    }
    await world.pass(10 * 60_000)
    assert.equal((await alice.client.describe(light))?.standing, 'active')
    await assert.rejects(world.over(alice.client.addPeople('#dark', ['carol'], { signal: never })), ClientError)
    world.server.twist = undefined
    await world.pass(30 * 60_000)
    for (const text of ['is anything missing?', 'here again']) {
      for (const group of [dark, light]) await alice.sayTo(group, text)
      await world.pass(30 * 60_000)
    }
    for (const title of ['#dark', '#light']) {
      assert.equal((await alice.client.conversation(title)).standing, 'active')
      assert.ok((await bob.texts(title)).includes('here again'), title)
    }
  })

  test('its own: it finds out by itself, with nobody else saying anything, and its message goes out', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const group = await world.group(alice, 'team', bob)
    await bob.sayTo(group, 'before')
    withholdCommits(world.server, alice.identity.device)
    world.clock.jump(8 * dayMs) // keys are renewed before the next message, by a commit
    const posted = await world.over(
      alice.client.postTo(group, { kind: 'text', body: { text: 'by new keys' } }, { signal: never }),
    )
    world.server.twist = undefined
    await world.pass(5 * 60_000)
    assert.equal((await world.over(posted.outcome)).kind, 'accepted')
    assert.deepEqual(bob.heard, ['by new keys'])
    assert.deepEqual([alice.told('stuck').length, alice.told('rejoined').length], [1, 1])
    await bob.sayTo(group, 'read')
    assert.deepEqual(await alice.texts('#team'), ['before', 'by new keys', 'read'])
  })

  test('its own, in a group that it has just made', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await bob.goOffline()
    withholdCommits(world.server, alice.identity.device)
    const making = alice.client.createGroup('team', ['bob'], { signal: never })
    const failed = assert.rejects(making, ClientError)
    await world.pass(1_000)
    world.server.twist = undefined
    await world.over(failed)
    await world.pass(5 * 60_000)
    await alice.say('#team', 'here')
    await bob.comeOnline()
    await still()
    assert.deepEqual(bob.heard, ['here'])
  })

  test('its own, which a restored server has lost: it is not waited for', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob)
    await bob.sayTo(group, 'before')
    const back = world.server.copy()
    withholdCommits(world.server, alice.identity.device)
    const adding = alice.client.addPeople('#team', ['carol'], { signal: never })
    await bob.goOffline()
    await world.pass(1_000)
    world.server.twist = undefined
    back()
    await world.over(adding)
    await bob.comeOnline()
    await alice.sayTo(group, 'all of us')
    for (const each of [bob, carol]) assert.equal(each.heard.at(-1), 'all of us', each.name)
    assert.ok((await alice.historyOf(group)).every(({ kind }) => kind !== 'gap'))
  })
})

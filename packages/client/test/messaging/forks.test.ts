import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Delivery, DeviceId } from '@messageu/protocol/v3'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

const dayMs = 86_400_000

describe('S06: members who are given different commits for one epoch', () => {
  test('never merge, are told, and find together again', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol, dave] = await world.people('alice', 'bob', 'carol', 'dave')
    await world.acquaint(alice, bob, carol, dave)
    const group = await world.group(alice, 'team', bob, carol, dave)
    const apart = [carol, dave]
    const kept: Partial<Delivery>[] = []
    world.server.twist = (to, parts) => {
      if (same(to, bob.identity.device)) kept.push(parts)
      return [parts]
    }
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
    const newest = Math.max(...kept.map(({ sequence = 0 }) => sequence))
    for (const { identity } of apart)
      for (const [i, parts] of kept.entries())
        world.server.slip(identity.device, { ...parts, sequence: newest + 1 + i })
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
})

describe('S07: a server that withholds commits from one member', () => {
  const withholding = (device: DeviceId) => (to: DeviceId, parts: Partial<Delivery>) =>
    same(to, device) && parts.kind === 'commit' ? [] : [parts]

  test('a removal: the member finds out by the next message, and nothing reaches the one who was removed', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    world.server.twist = withholding(bob.identity.device)
    await world.over(alice.client.removePeople('#team', ['carol'], { signal: never }))
    const { outcome } = await bob.client.postTo(
      group,
      { kind: 'text', body: { text: 'are we alone?' } },
      { signal: never },
    )
    await world.pass(10_000)
    assert.deepEqual(carol.heard, [])
    world.server.twist = undefined
    await alice.say('#team', 'she is out')
    await world.pass(180_000)
    assert.equal((await world.over(outcome)).kind, 'accepted')
    assert.deepEqual(alice.heard, ['are we alone?'])
    assert.deepEqual(carol.heard, [])
    assert.equal(bob.told('stuck').length, 1)
    assert.deepEqual(await bob.members(group), ['alice', 'bob'])
    assert.ok((await bob.texts('#team')).includes('are we alone?'))
  })
})

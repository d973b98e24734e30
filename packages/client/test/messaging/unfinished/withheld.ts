import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Delivery, DeviceId } from '@messageu/protocol/v3'
import { never } from '../../world.ts'
import { same } from '../ledger.ts'
import { MessagingWorld } from '../people.ts'

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
    assert.equal((await outcome).kind, 'accepted')
    assert.deepEqual(alice.heard, ['are we alone?'])
    assert.deepEqual(carol.heard, [])
    assert.equal(bob.told('stuck').length, 1)
    assert.deepEqual(await bob.members(group), ['alice', 'bob'])
    assert.ok((await bob.texts('#team')).includes('are we alone?'))
  })

  test('with nobody saying anything after it: the member finds out when it sends', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob, carol)
    world.server.twist = withholding(bob.identity.device)
    await world.over(alice.client.removePeople('#team', ['carol'], { signal: never }))
    world.server.twist = undefined
    await bob.goOffline()
    await bob.comeOnline()
    await bob.say('#team', 'hello')
    assert.deepEqual([alice.heard, carol.heard], [['hello'], []])
    assert.deepEqual(await bob.members(group), ['alice', 'bob'])
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { toBase64url } from '@messageu/protocol/v3'
import { openSession } from '../../src/session.ts'
import { never } from '../world.ts'
import { MessagingWorld } from './people.ts'

describe('A group in which nobody but a lost device is', () => {
  test('is left by the device that recovers the account: nobody can enter it, and nobody is shown it', async () => {
    await using world = await MessagingWorld.start()
    const { first, recovered } = await world.personWithWords('alice')
    const alone = await world.group(first, 'alone')
    await first.sayTo(alone, 'to nobody')
    await first.goOffline()
    const second = await recovered()
    await world.pass(60_000)
    assert.equal(world.server.ledger(alone)?.isClosed, true)
    assert.equal(await second.client.announced(), 0)
    assert.equal(await second.client.describe(alone), undefined)
    const known = await Array.fromAsync(second.client.conversations())
    assert.deepEqual(
      known.filter(({ kind }) => kind === 'group'),
      [],
    )
    assert.deepEqual(second.kinds('joined'), [])
  })

  test('is entered where a commit shows the way: the recovered device comes beside the lost one and takes it out', async () => {
    await using world = await MessagingWorld.start()
    const { first, recovered } = await world.personWithWords('alice')
    const [bob] = await world.people('bob')
    await world.acquaint(first, bob)
    const team = await world.group(first, 'team', bob)
    await world.over(first.client.removePeople('#team', ['bob'], { signal: never }))
    await first.goOffline()
    const second = await recovered()
    await world.pass(60_000)
    assert.equal((await second.client.describe(team))?.standing, 'active')
    assert.deepEqual(world.server.ledger(team)?.roster, [second.identity.device])
    await second.client.addPeople(`#${toBase64url(team)}`, ['bob'], { signal: never })
    await world.pass(60_000)
    assert.deepEqual(await bob.members(team), ['alice', 'bob'])
  })

  test('is not left while another account has begun it anew and is to bring this one in', async () => {
    await using world = await MessagingWorld.start()
    const { first, recovered } = await world.personWithWords('alice')
    const [bob] = await world.people('bob')
    await world.acquaint(first, bob)
    const team = await world.group(first, 'team', bob)
    await first.goOffline()
    await bob.goOffline()
    const { device } = bob.identity
    const roster = [device, first.identity.device]
    await using session = await openSession({ store: bob.store, world: world.world, signal: never })
    await session.request('recreate', { conversation: team, generation: 2, roster }, { signal: never })
    const second = await recovered()
    await world.pass(60_000)
    assert.equal(world.server.ledger(team)?.left.size, 0)
    assert.equal(await second.client.announced(), 1, 'it waits')
  })
})

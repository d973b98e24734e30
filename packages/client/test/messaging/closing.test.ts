import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

describe('a client that is closed', () => {
  test('tells whoever waits for a change to take effect that it will not see it', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await world.group(alice, 'team')
    world.server.twist = (to, parts) => (same(to, alice.identity.device) && parts.kind === 'commit' ? [] : [parts])
    const adding = alice.client.addPeople('#team', ['bob'], { signal: never })
    adding.catch(() => {})
    await still()
    await alice.goOffline()
    await assert.rejects(adding, { reason: 'ended' })
  })

  test('ends what it shows, without an error', async () => {
    await using world = await MessagingWorld.start()
    const alice = await world.person('alice')
    const shown = Array.fromAsync(alice.client.arrivals({ signal: never }))
    await still()
    await alice.goOffline()
    assert.deepEqual(await shown, [])
  })
})

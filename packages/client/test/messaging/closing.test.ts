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

  test('ends also where something that came waits for a server that is silent, and a duty waits for that', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    world.server.lie = (name) => (name === 'read-tree' ? { kind: 'silence' } : undefined)
    await world.group(alice, 'team', bob)
    world.clock.jump(8 * 86_400_000) // by which the last key package is to be another one
    for (const session of world.server.sessionsOf(bob.identity.device))
      session.notice({ kind: 'key-packages-low', body: { singleUse: 0, hasLastResort: false } })
    await still()
    let hasEnded = false
    void bob.goOffline().then(() => {
      hasEnded = true
    })
    await still()
    assert.ok(hasEnded)
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

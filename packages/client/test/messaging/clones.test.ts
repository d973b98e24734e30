import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ClientError } from '../../src/errors.ts'
import { MemoryStore } from '../../src/memory-store.ts'
import { type Store, tables } from '../../src/store.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** What a backup, a copied profile or a snapshot of a machine holds. */
async function copyOf(store: Store): Promise<Store> {
  const copy = new MemoryStore()
  for (const table of Object.keys(tables) as (keyof typeof tables)[]) {
    const rows = await store.read(table, { limit: 100_000 })
    await copy.commit(
      rows.map(({ key, value }) => ({ table, key, value })),
      copy.revision,
    )
  }
  return copy
}

describe('S14: a device that is given its own old state', () => {
  test('sends nothing once the server knows of newer sends, and says why', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'one')
    const old = await copyOf(alice.store)
    await alice.say('bob', 'two')
    await alice.goOffline()
    const byAlice = () => world.server.log.filter(({ device }) => same(device, alice.identity.device)).length
    const before = byAlice()
    const restored = alice.anew({ store: old, world: world.world })
    await assert.rejects(restored.comeOnline(), (error) => error instanceof ClientError && error.reason === 'clone')
    await world.pass(60_000)
    assert.equal(byAlice(), before)
    assert.deepEqual(bob.heard, ['one', 'two'])
  })

  test('while its twin runs: the second to send is found out, and what it said is shown to nobody', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'one')
    const twin = await alice.anew({ store: await copyOf(alice.store), world: world.world }).comeOnline()
    world.devices.push(twin)
    await alice.say('bob', 'two')
    const posted = await twin.client.post('bob', { kind: 'text', body: { text: 'not two' } }, { signal: never })
    await assert.rejects(posted.outcome, { reason: 'clone' })
    await world.pass(60_000)
    assert.deepEqual(bob.heard, ['one', 'two'])
    assert.equal(bob.kinds('unopened').length, 0)
    const [end] = twin.ends.slice(-1)
    assert.ok(end instanceof ClientError && end.reason === 'clone')
  })

  test('that had only received: what is missing is a gap that is seen, and nothing is shown twice', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'one')
    const old = await copyOf(bob.store)
    await alice.say('bob', 'two')
    await bob.goOffline()
    const restored = await bob.anew({ store: old, world: world.world }).comeOnline()
    world.devices.push(restored)
    await alice.say('bob', 'three')
    await world.pass(30_000)
    assert.deepEqual(restored.heard, ['three'])
    const gaps = restored.kinds('gap').map((each) => each.kind === 'gap' && each.through - each.sequence + 1)
    assert.deepEqual(gaps, [1])
    await restored.say('alice', 'I am an old copy')
    await still()
    assert.deepEqual(alice.heard, ['I am an old copy'])
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Client } from '../../src/messaging/client.ts'
import type { Arrival } from '../../src/messaging/items.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { flipped } from './spoiling.ts'
import { still } from './stillness.ts'

/** Bob is there, shows nothing, and is about to get something that he cannot open. */
async function scene() {
  const world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  await alice.say('bob', 'before')
  await bob.goOffline()
  const client = await Client.connect({ store: bob.store, world: world.world, signal: never })
  await still()
  return { world, alice, bob, client }
}

async function spoilt(world: MessagingWorld, alice: Device, bob: Device): Promise<void> {
  world.server.twist = (to, parts) => {
    if (!same(to, bob.identity.device) || parts.kind !== 'application' || parts.sealed === undefined) return [parts]
    world.server.twist = undefined
    return [{ ...parts, sealed: flipped(parts.sealed) }]
  }
  await alice.say('bob', 'spoilt')
}

describe('I2: what could not be opened, and was given again', () => {
  test('before anybody was shown that, is shown as what it is, once', async () => {
    const { world, alice, bob, client } = await scene()
    await using _world = world
    await using _client = client
    await spoilt(world, alice, bob)
    await world.pass(60_000)
    const shown: Arrival[] = []
    for await (const batch of client.arrivals({ signal: never, untilCaughtUp: true })) shown.push(...batch)
    assert.deepEqual(
      shown.map(({ kind }) => kind),
      ['message'],
    )
  })

  test('while it is being shown as that, is shown as what it is afterwards, once', async () => {
    const { world, alice, bob, client } = await scene()
    await using _world = world
    await using _client = client
    const bobs = bob.identity.device
    world.server.lie = (name, _, session) =>
      name === 'send' && session.device !== undefined && same(session.device, bobs) ? { kind: 'silence' } : undefined
    await spoilt(world, alice, bob)
    const kinds: string[] = []
    for await (const batch of client.arrivals({ signal: never, untilCaughtUp: true })) {
      kinds.push(...batch.map(({ kind }) => kind))
      if (world.server.lie === undefined) continue
      world.server.lie = undefined
      for (const session of world.server.sessions) session.cut()
      await world.pass(60_000)
    }
    assert.deepEqual(kinds, ['unopened', 'message'])
  })
})

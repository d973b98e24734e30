import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, encode } from '@messageu/protocol'
import { DeliveredCommit } from '@messageu/protocol/v3'
import { Client } from '../../src/messaging/client.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { MessagingWorld } from './people.ts'
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
    await bob.say('#party', 'hello')
    assert.deepEqual(mallory.heard, ['hello'])
    await still()
  })
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

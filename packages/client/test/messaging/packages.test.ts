import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { signingKey } from '@messageu/e2ee'
import { newKeyPackage } from '@messageu/e2ee/conversation'
import type { ClaimedPackage } from '@messageu/protocol/v3'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import { done } from '../fake-server.ts'
import { never } from '../world.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

const dayMs = 86_400_000

/** A key package of a device, as its own program makes it. */
async function packageOf(
  world: MessagingWorld,
  { client, identity }: Device,
  options: Partial<Parameters<typeof newKeyPackage>[2]> = {},
): Promise<ClaimedPackage> {
  const list = await client.devices({ signal: never })
  const { signatureSeed, requestSeed } = client.account.identity
  const self = { ...identity, signatureSeed, requestKey: await signingKey(requestSeed) }
  const made = await newKeyPackage(self, list, {
    suite: 'x25519',
    isLastResort: false,
    now: world.clock.nowMs(),
    ...options,
  })
  return { device: identity.device, isLastResort: false, keyPackage: made.keyPackage }
}

function handOut(world: MessagingWorld, packages: readonly ClaimedPackage[]): void {
  world.server.lie = (name) => (name === 'claim' ? { kind: 'answer', body: done('claim', [...packages]) } : undefined)
}

describe('S08: key packages that the server hands out', () => {
  const bad: Record<string, (world: MessagingWorld, bob: Device, carol: Device) => Promise<readonly ClaimedPackage[]>> =
    {
      'one that is long expired': async (world, bob) => [
        await packageOf(world, bob, { now: world.clock.nowMs() - 200 * dayMs }),
      ],
      'one that is good only years from now': async (world, bob) => [
        await packageOf(world, bob, { now: world.clock.nowMs() + 2_000 * dayMs }),
      ],
      'one of another account': async (world, bob, carol) => [
        { ...(await packageOf(world, carol)), device: bob.identity.device },
      ],
      'one of another suite': async (world, bob) => [await packageOf(world, bob, { suite: 'x-wing' })],
      'one whose signature is altered': async (world, bob) => {
        const good = await packageOf(world, bob)
        const keyPackage = good.keyPackage.slice()
        keyPackage[keyPackage.length - 1] = (keyPackage.at(-1) ?? 0) ^ 1
        return [{ ...good, keyPackage }]
      },
      garbage: async (_world, bob) => [
        { device: bob.identity.device, isLastResort: false, keyPackage: new Uint8Array(300).fill(3) },
      ],
    }
  for (const [what, make] of Object.entries(bad))
    test(`${what}: is refused and told, and nobody is sealed for by it`, async () => {
      await using world = await MessagingWorld.start()
      const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
      await world.acquaint(alice, bob)
      handOut(world, await make(world, bob, carol))
      await assert.rejects(world.over(alice.client.send('bob', { text: 'hi' }, { signal: never })), {
        reason: 'no-device',
      })
      await still()
      assert.equal(alice.told('package').length, 1)
      assert.deepEqual([bob.heard, carol.heard], [[], []])
      world.server.lie = undefined
      await alice.say('bob', 'hello')
      assert.deepEqual(bob.heard, ['hello'])
    })

  test('none at all: whoever cannot be reached yet is said to be so', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    handOut(world, [])
    await assert.rejects(world.over(alice.client.send('bob', { text: 'hi' }, { signal: never })), {
      reason: 'no-device',
    })
    world.server.lie = undefined
    await alice.say('bob', 'hello')
    assert.deepEqual(bob.heard, ['hello'])
  })

  test('two for one device: it is brought in once', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const [own] = [...world.server.shelf.of(bob.identity.device)].slice(0, 1)
    const [, second] = world.server.shelf.of(bob.identity.device)
    assert.ok(own && second)
    const { device } = bob.identity
    handOut(world, [
      { device, isLastResort: false, keyPackage: own.keyPackage },
      { device, isLastResort: false, keyPackage: second.keyPackage },
    ])
    await alice.say('bob', 'hello')
    assert.deepEqual(bob.heard, ['hello'])
  })

  test('only the last resort: it serves for several conversations, and is replaced after a week', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const shelf = world.server.shelf.of(bob.identity.device)
    const before = shelf.filter(({ isLastResort }) => isLastResort)
    assert.equal(before.length, 1)
    shelf.splice(0, shelf.length, ...before)
    await bob.goOffline()
    for (const title of ['red', 'green']) await world.group(alice, title, bob)
    for (const title of ['red', 'green']) await alice.client.send(`#${title}`, { text: title }, { signal: never })
    await bob.comeOnline()
    assert.deepEqual(bob.heard, ['red', 'green'])
    world.clock.jump(8 * dayMs)
    await bob.goOffline()
    await bob.comeOnline()
    const after = world.server.shelf.of(bob.identity.device).filter(({ isLastResort }) => isLastResort)
    assert.equal(after.length, 1)
    assert.notDeepEqual(after[0]?.keyPackage, before[0]?.keyPackage)
  })
})

describe('the key packages of a device', () => {
  test('are filled up when fewer than a third is left, and not before', async () => {
    await using world = await MessagingWorld.start()
    const bob = await world.person('bob')
    const { device } = bob.identity
    const { shelf } = world.server
    const isFull = (): boolean => shelf.count(device).singleUse === limits.packagesFull
    assert.ok(isFull())
    for (let left = limits.packagesFull - limits.packagesLow; left > 0; left--) {
      const used = shelf.of(device).findIndex(({ isLastResort }) => !isLastResort)
      shelf.of(device).splice(used, 1)
    }
    await bob.goOffline()
    await bob.comeOnline()
    assert.equal(shelf.count(device).singleUse, limits.packagesLow)
    const alice = await world.person('alice')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'hello')
    assert.ok(isFull())
    assert.deepEqual(bob.heard, ['hello'])
  })
})

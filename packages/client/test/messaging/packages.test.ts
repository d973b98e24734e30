import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RefusedError } from '@messageu/protocol/v3'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import { never } from '../world.ts'
import { badPackages, handOut, makerOf } from './bad-packages.ts'
import { withholdCommits } from './interception.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

const dayMs = 86_400_000
const limited = { kind: 'refuse', error: new RefusedError('limited', 'not now') } as const

describe('S08: key packages that the server hands out', () => {
  for (const [what, { reason, make }] of Object.entries(badPackages))
    test(`${what}: is refused and told, and nobody is sealed for by it`, async () => {
      await using world = await MessagingWorld.start()
      const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
      await world.acquaint(alice, bob)
      const makerAt = (person: Device) => makerOf(world.server, person.client.account, world.clock.nowMs())
      const keyPackage = await make(await makerAt(bob), await makerAt(carol))
      handOut(world.server, bob.identity.device, [keyPackage])
      await assert.rejects(world.over(alice.client.send('bob', { text: 'hi' }, { signal: never })), {
        reason: 'no-device',
      })
      await still()
      const told = alice.told('package').map((each) => each.kind === 'told' && each.told)
      const { account, device } = bob.identity
      assert.deepEqual(told, [{ kind: 'package', body: { account, device, reason } }])
      assert.deepEqual([bob.heard, carol.heard], [[], []])
      world.server.lie = undefined
      await alice.say('bob', 'hello')
      assert.deepEqual(bob.heard, ['hello'])
    })

  test('none at all: whoever cannot be reached yet is said to be so', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    handOut(world.server, bob.identity.device, [])
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
    handOut(world.server, bob.identity.device, [own.keyPackage, second.keyPackage])
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
  test('open a Welcome however long their device was away since, the last resort too', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await bob.goOffline()
    world.clock.jump(limits.lastResortMs + limits.lastResortGraceMs + dayMs)
    const { singleUse } = world.server.shelf.count(bob.identity.device)
    for (let i = 0; i < singleUse; i++) world.server.shelf.claim([bob.identity.device])
    await alice.say('bob', 'by the last resort')
    await world.comeSlowly(bob, 5_000)
    assert.deepEqual(bob.heard, ['by the last resort'])
  })

  test('of the last resort replace none as long as the server does not have them', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const shelf = world.server.shelf.of(bob.identity.device)
    shelf.splice(0, shelf.length, ...shelf.filter(({ isLastResort }) => isLastResort))
    world.server.lie = (name) => (name === 'publish' ? limited : undefined)
    await bob.goOffline()
    world.clock.jump(limits.lastResortMs + dayMs)
    await bob.comeOnline()
    world.clock.jump(limits.lastResortGraceMs + dayMs)
    await world.pass(2 * limits.dutyRetryMs)
    await alice.say('bob', 'by the one that the server has')
    assert.deepEqual(bob.heard, ['by the one that the server has'])
  })

  test('of the last resort are kept once in a week, however often the server does not take one', async () => {
    await using world = await MessagingWorld.start()
    const bob = await world.person('bob')
    const count = async (): Promise<number> => (await bob.store.read('packages', { limit: 1_000 })).length
    const before = await count()
    await bob.goOffline()
    let tries = 0
    world.server.lie = (name) => {
      if (name !== 'publish') return undefined
      tries += 1
      return limited
    }
    world.clock.jump(limits.lastResortMs + dayMs)
    await bob.comeOnline()
    await world.pass(5 * limits.dutyRetryMs)
    assert.ok(tries > 2)
    assert.equal(await count(), before + 1)
  })

  test('U05: of the last resort are given to a restored server, which hands out what is not here any more', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const [back, shelfBack] = [world.server.copy(), world.server.shelf.copy()]
    for (const waitedMs of [limits.lastResortMs, limits.lastResortGraceMs]) {
      world.clock.jump(waitedMs + dayMs)
      await world.pass(limits.packagesEveryMs)
    }
    back()
    shelfBack()
    await world.pass(limits.dutyRetryMs)
    const shelf = world.server.shelf.of(bob.identity.device)
    shelf.splice(0, shelf.length, ...shelf.filter(({ isLastResort }) => isLastResort))
    await alice.say('bob', 'by the one that is here')
    assert.deepEqual(bob.heard, ['by the one that is here'])
  })

  test('are replaced before they are over, in a session that does not end', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.goOffline()
    world.clock.jump(91 * dayMs)
    assert.deepEqual(world.server.shelf.count(bob.identity.device), { singleUse: 0, hasLastResort: false })
    await world.pass(limits.packagesEveryMs)
    await alice.comeOnline()
    await alice.say('bob', 'hello')
    assert.deepEqual(bob.heard, ['hello'])
  })

  test('leave no private half behind once no Welcome can be for them, in a session that does not end', async () => {
    await using world = await MessagingWorld.start()
    const bob = await world.person('bob')
    const kept = async (): Promise<readonly string[]> =>
      (await bob.store.read('packages', { limit: 1_000 })).map(({ value }) => Buffer.from(value).toString('hex'))
    const before = await kept()
    for (let month = 0; month < 4; month++) {
      world.clock.jump(29 * dayMs)
      await world.pass(limits.packagesEveryMs)
    }
    const after = await kept()
    assert.ok(after.length > 0)
    assert.deepEqual(
      after.filter((each) => before.includes(each)),
      [],
    )
  })

  test('do not wait for what their device waits for in a conversation', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await world.group(alice, 'team', bob)
    const { device } = bob.identity
    withholdCommits(world.server, device)
    await world.pass(limits.newcomerDelayMs / 20) // by then it gives itself new keys, by a commit that does not come back
    world.server.shelf.of(device).splice(0)
    for (const session of world.server.sessionsOf(device)) session.cut()
    await world.pass(limits.placeMs / 4)
    assert.equal(world.server.shelf.count(device).singleUse, limits.packagesFull)
  })

  test('that are over before they are used bring nobody in, however good they were when they were claimed', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    let claims = 0
    world.server.lie = (name) => {
      // those of Bob are here by then: the device sleeps before it has those of Carol
      if (name === 'claim' && ++claims === 2) world.clock.jump(91 * dayMs)
      return undefined
    }
    const making = alice.client.createGroup('team', ['bob', 'carol'], { signal: never })
    const { conversation, absent } = await world.over(making)
    assert.equal(claims, 2)
    assert.deepEqual(
      absent.map(({ name }) => name),
      ['bob', 'carol'],
    )
    assert.deepEqual(await alice.members(conversation), ['alice'])
  })

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

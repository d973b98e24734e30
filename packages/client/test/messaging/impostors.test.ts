import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { accountName, toBase64url } from '@messageu/protocol/v3'
import { done } from '../fake-server.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** Bob knows alice, and somebody else has an account of that name and has brought him into a group. */
async function scene(world: MessagingWorld) {
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  await alice.say('bob', 'it is me')
  const impostor = await asAlice(world, bob, 'family')
  assert.equal((await bob.client.alarms()).length, 1)
  return { alice, bob, impostor }
}

async function asAlice(world: MessagingWorld, bob: Device, title: string): Promise<Device> {
  const impostor = await world.person('alice')
  await world.group(impostor, title, bob)
  return impostor
}

const wasSentTo = (world: MessagingWorld, by: Device, to: Device): boolean =>
  world.server.log.some(
    (each) => same(each.device, by.identity.device) && each.to.some((device) => same(device, to.identity.device)),
  )

describe('S09: a second account of a known name', () => {
  test('is written to by nobody before the user has decided', async () => {
    await using world = await MessagingWorld.start()
    const { bob, impostor } = await scene(world)
    const sending = bob.client.send('alice', { text: 'secret' }, { signal: never })
    await assert.rejects(sending, { reason: 'other-account' })
    await assert.rejects(bob.client.markVerified('alice', { signal: never }), { reason: 'other-account' })
    assert.equal((await bob.client.safetyWith('alice', { signal: never })).isOtherAccount, true)
    assert(!wasSentTo(world, bob, impostor))
  })

  test('is refused when the user keeps the account that was known, and raises no alarm again', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, impostor } = await scene(world)
    await world.over(bob.client.keepAccount('alice', { signal: never }))
    assert.deepEqual(await bob.client.alarms(), [])
    assert.equal((await bob.client.safetyWith('alice', { signal: never })).isOtherAccount, false)
    await bob.say('alice', 'for you')
    assert.deepEqual(alice.heard, ['for you'])
    const again = world.over(impostor.client.createGroup('again', ['bob'], { signal: never }))
    await again.catch(() => {})
    await still()
    const { account } = impostor.identity
    const list = world.server.lists.get(toBase64url(account))?.list ?? assert.fail()
    const people = [{ account, name: accountName('alice'), listVersion: list.version, listHash: list.hash }]
    const body = done('people', { isDirectory: true, people, isLast: true })
    world.server.lie = (name) => (name === 'people' ? { kind: 'answer', body } : undefined)
    const [page] = await Array.fromAsync(bob.client.people({ signal: never }))
    world.server.lie = undefined
    assert.deepEqual(
      page?.people.map(({ isOtherAccount, isTurnedDown }) => [isOtherAccount, isTurnedDown]),
      [[true, true]],
    )
    assert.deepEqual(await bob.client.alarms(), [])
    assert.equal(bob.told('alarm').length, 1)
    assert(!wasSentTo(world, bob, impostor))
    await asAlice(world, bob, 'a third')
    assert.equal((await bob.client.alarms()).length, 1, 'another one is another alarm')
  })

  test('is who the name stands for once the user has accepted it, and not whoever came after', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, impostor } = await scene(world)
    const third = await asAlice(world, bob, 'a third')
    const [alarm, ...more] = await bob.client.alarms()
    assert(alarm !== undefined && same(alarm.account, impostor.identity.account))
    assert.deepEqual(more, [])
    await bob.client.acceptAccount('alice')
    const before = alice.heard.length
    await bob.say('alice', 'to whom I compared with')
    assert.deepEqual(impostor.heard, ['to whom I compared with'])
    assert.equal(alice.heard.length, before)
    assert(!wasSentTo(world, bob, third))
  })
})

describe('S07: what the server says of a device list', () => {
  test('is told apart from what its owner has confirmed, and since when', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const seen = async () => {
      const { isConfirmed, isNewestConfirmed, confirmedAt } = await bob.client.safetyWith('alice', { signal: never })
      return { isConfirmed, isNewestConfirmed, confirmedAt }
    }
    assert.deepEqual(await seen(), { isConfirmed: false, isNewestConfirmed: false, confirmedAt: undefined })
    const before = world.clock.nowMs()
    await alice.say('bob', 'one')
    const fresh = await seen()
    const { confirmedAt: at = 0 } = fresh
    assert.deepEqual(fresh, { isConfirmed: true, isNewestConfirmed: true, confirmedAt: at })
    assert(at >= before && at <= world.clock.nowMs())
    await world.sibling(alice)
    assert.deepEqual(await seen(), { isConfirmed: true, isNewestConfirmed: false, confirmedAt: at })
    await world.pass(7_200_000)
    await alice.say('bob', 'two')
    const { isNewestConfirmed, confirmedAt = 0 } = await seen()
    assert(isNewestConfirmed && confirmedAt > at + 7_000_000)
    assert.deepEqual(await bob.client.confirmation(alice.identity.account), await seen())
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { toBase64url } from '@messageu/protocol/v3'
import { ClientError } from '../../src/errors.ts'
import { done } from '../fake-server.ts'
import { never } from '../world.ts'
import { continuedBy, entriesOf, showList } from './false-lists.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** Of what is about to be sent, nothing is, and the user hears why. */
async function refuses(world: MessagingWorld, alice: Device, reasons: readonly string[]): Promise<void> {
  const accepted = world.server.accepted.length
  await assert.rejects(
    world.over(alice.client.send('bob', { text: 'secret' }, { signal: never })),
    (error) => error instanceof ClientError && reasons.includes(error.reason),
  )
  assert.equal(world.server.accepted.length, accepted)
}

/** The session is a new one: everything is compared again before the next message. */
async function again(device: Device): Promise<void> {
  await device.goOffline()
  await device.comeOnline()
}

/** The same in every session, and the user is told of it once. */
async function refusesOnce(world: MessagingWorld, alice: Device, kind: 'older-list' | 'forked-list'): Promise<void> {
  await refuses(world, alice, [kind])
  await again(alice)
  await refuses(world, alice, [kind])
  await still()
  const told = alice.shown.flatMap((each) => (each.kind === 'told' && each.told.kind === 'alarm' ? each.told.body : []))
  const kept = await alice.client.alarms()
  for (const alarms of [told, kept])
    assert.deepEqual(
      alarms.map((each) => [each.kind, each.name]),
      [[kind, 'bob']],
    )
}

describe('S01: a server that shows other devices than an account has', () => {
  test('one that nobody has signed: nothing is sent while it is shown, nobody is told of a device', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'one')
    await again(alice)
    showList(world.server, alice.identity.device, {
      account: bob.identity.account,
      entries: [...entriesOf(world.server, bob.identity.account), new Uint8Array(200).fill(7)],
    })
    await refuses(world, alice, ['bad-answer', 'forked-list'])
    assert.deepEqual(alice.told('devices'), [])
    world.server.lie = undefined
    await alice.say('bob', 'two')
    assert.deepEqual(bob.heard, ['one', 'two'])
  })

  test('a list that is older than one that was seen: an alarm, and nothing is sent', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const old = entriesOf(world.server, bob.identity.account)
    const second = await world.sibling(bob)
    await alice.say('bob', 'one')
    assert.deepEqual(second.heard, ['one'])
    await again(alice)
    showList(world.server, alice.identity.device, { account: bob.identity.account, entries: old })
    await refusesOnce(world, alice, 'older-list')
  })

  test('a list that contradicts one that was seen: another alarm, and nothing is sent', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const old = entriesOf(world.server, bob.identity.account)
    await world.sibling(bob)
    await alice.say('bob', 'one')
    await again(alice)
    const { account } = bob.identity
    showList(world.server, alice.identity.device, { account, entries: await continuedBy(bob, old, 2) })
    await refusesOnce(world, alice, 'forked-list')
  })

  test('a device that the account has really added is told, brought in, and reads what is said from then on', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'one')
    const second = await world.sibling(bob)
    await still()
    assert.equal(alice.told('devices').length, 1)
    await alice.say('bob', 'two')
    assert.deepEqual(second.heard, ['two'])
    assert.deepEqual(await second.texts('alice'), ['one', 'two'])
  })

  test('a device that was dropped reads nothing that is said after it', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const second = await world.sibling(bob)
    await alice.say('bob', 'one')
    await world.over(bob.client.dropDevice(second.identity.device, { signal: never }))
    await still()
    const shown = second.heard.length
    await alice.say('bob', 'two')
    await world.pass(5_000)
    assert.equal(second.heard.length, shown)
    assert.deepEqual(bob.heard, ['one', 'two'])
    const [last] = world.server.log.slice(-1)
    assert.ok(last?.to.every((device) => !same(device, second.identity.device)))
  })
})

describe('S01, S09: a second account of a name that is known', () => {
  test('is an alarm as soon as it brings somebody into something, and nothing goes to either of them by that name', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const impostor = await MessagingWorld.at(world.server).person('alice')
    world.devices.push(impostor)
    await impostor.client.createGroup('family', ['bob'], { signal: never })
    await still()
    const told = bob.told('alarm').map((each) => each.kind === 'told' && each.told)
    const { account } = impostor.identity
    assert.deepEqual(told, [{ kind: 'alarm', body: { kind: 'other-account', account, name: 'alice' } }])
    assert.deepEqual(
      (await bob.client.alarms()).map(({ kind, name }) => [kind, name]),
      [['other-account', 'alice']],
    )
    await assert.rejects(world.over(bob.client.send('alice', { text: 'secret' }, { signal: never })), {
      reason: 'other-account',
    })
  })

  test('is one also for whoever knows the first one from a conversation only', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob)
    await world.acquaint(alice, carol)
    await world.group(alice, 'team', bob, carol)
    const impostor = await MessagingWorld.at(world.server).person('carol')
    world.devices.push(impostor)
    await impostor.client.createGroup('family', ['bob'], { signal: never })
    await still()
    assert.equal(bob.told('alarm').length, 1)
  })
})

describe('S02: the first contact, with somebody else in between', () => {
  test('safety numbers differ on both sides, and are the same where nobody is in between', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    const inBetween = MessagingWorld.at(world.server)
    const mallory = await inBetween.person('bob')
    world.devices.push(mallory)
    const numbers = async (one: Device, name: string) => (await one.client.safetyWith(name, { signal: never })).digits
    const byBob = await numbers(bob, 'alice')
    world.server.lie = (name) => {
      if (name !== 'find') return undefined
      const list = world.server.lists.get(toBase64url(mallory.identity.account))?.list
      assert.ok(list)
      const { account, version, hash } = list
      return { kind: 'answer', body: done('find', { account, name: list.name, listVersion: version, listHash: hash }) }
    }
    const byAlice = await numbers(alice, 'bob')
    assert.notEqual(byAlice, byBob)
    world.server.lie = undefined
    const carol = await world.person('carol')
    assert.equal(await numbers(carol, 'alice'), await numbers(alice, 'carol'))
  })
})

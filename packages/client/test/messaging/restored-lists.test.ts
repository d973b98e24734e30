import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RefusedError, toBase64url } from '@messageu/protocol/v3'
import { ClientError } from '../../src/errors.ts'
import { getRow, listRow, putRow } from '../../src/rows.ts'
import { change } from '../../src/store.ts'
import { never } from '../world.ts'
import { type Device, MessagingWorld } from './people.ts'

const mendedMs = 5 * 60_000

function listed(world: MessagingWorld, { identity: { account } }: Device): readonly string[] {
  const devices = world.server.lists.get(toBase64url(account))?.list.devices ?? []
  return devices.map(({ device }) => toBase64url(device))
}

function idsOf(...devices: readonly Device[]): readonly string[] {
  return devices.map(({ identity: { device } }) => toBase64url(device))
}

function reasonsOf({ ends }: Device): readonly string[] {
  return ends.map((why) => (why instanceof ClientError || why instanceof RefusedError ? why.reason : String(why)))
}

describe('U05: after the server was restored to an older device list', () => {
  test('whoever knows the newer one gives it back, and the device that was admitted since goes on', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'before')
    const back = world.server.copy()
    const tablet = await world.sibling(alice)
    await tablet.say('bob', 'by the tablet')
    back()
    await world.pass(mendedMs)
    assert.deepEqual(listed(world, alice), idsOf(alice, tablet))
    await tablet.say('bob', 'after')
    assert.equal((await bob.texts('alice')).at(-1), 'after')
    assert.deepEqual(await alice.client.alarms(), [])
  })

  test('a device that it does not know gives the list back by itself, whoever has signed it', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const back = world.server.copy()
    const tablet = await world.sibling(alice)
    await alice.goOffline()
    back()
    await world.pass(mendedMs)
    assert.deepEqual(listed(world, alice), idsOf(alice, tablet))
    await tablet.say('bob', 'after')
    assert.equal((await bob.texts('alice')).at(-1), 'after')
  })

  test('a device that has come back by the words gives also back what was signed before by the others', async () => {
    await using world = await MessagingWorld.start()
    const { first, recovered } = await world.personWithWords('alice')
    const back = world.server.copy()
    const tablet = await world.sibling(first)
    await first.goOffline()
    await tablet.goOffline()
    const second = await recovered()
    back()
    await world.pass(mendedMs)
    assert.deepEqual(listed(world, second), idsOf(second))
    await second.say('me', 'after')
    assert.deepEqual(await second.texts('me'), ['after'])
  })

  test('a device that is refused in the moment in which another one gives the list back tries again', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const back = world.server.copy()
    const tablet = await world.sibling(alice)
    await alice.goOffline()
    const name = toBase64url(alice.identity.account)
    const newest = world.server.lists.get(name)
    assert(newest !== undefined)
    back()
    world.server.lie = (operation, _body, { device }) => {
      const wasRefused = device === undefined && operation === 'read-list'
      if (wasRefused) world.server.lists.set(name, newest)
      return undefined
    }
    await world.pass(mendedMs)
    assert.deepEqual(
      reasonsOf(tablet).filter((reason) => reason !== 'lost'),
      [],
    )
    await tablet.say('bob', 'after')
    assert.equal((await bob.texts('alice')).at(-1), 'after')
  })

  test('a device that is on its list, and whose proof the server never takes, is told so', async () => {
    await using world = await MessagingWorld.start()
    const alice = await world.person('alice')
    await alice.goOffline()
    world.server.lie = (name) =>
      name === 'prove' ? { kind: 'refuse', error: new RefusedError('unproved', 'no') } : undefined
    const coming = assert.rejects(alice.comeOnline(), { reason: 'unproved' })
    await world.pass(mendedMs)
    await coming
  })

  test('a device that was taken off since is off again', async () => {
    await using world = await MessagingWorld.start()
    const [alice] = await world.people('alice')
    const stolen = await world.sibling(alice)
    const back = world.server.copy()
    await stolen.goOffline()
    await world.over(alice.client.dropDevice(stolen.identity.device, { signal: never }))
    back()
    await world.pass(mendedMs)
    assert.deepEqual(listed(world, alice), idsOf(alice))
  })

  test('a device that is off the list that it knows is not told that it was forgotten, and gives nothing back', async () => {
    await using world = await MessagingWorld.start()
    const [alice] = await world.people('alice')
    const back = world.server.copy()
    const tablet = await world.sibling(alice)
    await world.over(alice.client.dropDevice(tablet.identity.device, { signal: never }))
    const { account } = alice.identity
    const newest = await getRow(alice.store, listRow, account)
    assert(newest !== undefined)
    await change(tablet.store, async () => ({ changes: [putRow(listRow, account, newest)], result: undefined }))
    await alice.goOffline()
    await tablet.goOffline()
    back()
    const before = world.server.requests.length
    await assert.rejects(tablet.comeOnline({ patience: 'one-attempt' }), { reason: 'unproved' })
    assert(world.server.requests.slice(before).every(({ name }) => name !== 'append' && name !== 'recover'))
  })

  test('S07: a server that does not take it back stays one that shows an old list', async () => {
    await using world = await MessagingWorld.start()
    const [alice] = await world.people('alice')
    const back = world.server.copy()
    await world.sibling(alice)
    await alice.goOffline()
    world.server.lie = (name) =>
      name === 'append' ? { kind: 'refuse', error: new RefusedError('not-permitted', 'no') } : undefined
    back()
    await assert.rejects(alice.comeOnline(), { reason: 'older-list' })
  })
})

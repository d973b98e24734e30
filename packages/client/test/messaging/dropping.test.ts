import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VerifiedList } from '@messageu/e2ee'
import { decode } from '@messageu/protocol'
import { type AccountId, operations, RefusedError, toBase64url } from '@messageu/protocol/v3'
import { sameBytes } from '../../src/bytes.ts'
import { never } from '../world.ts'
import { liveFor } from './mortal.ts'
import { type Device, MessagingWorld } from './people.ts'

test('K07: a device that is off the account manages it no more, after whichever step its removal was interrupted', async () => {
  let steps = 1
  for (let outcome = 'killed'; outcome === 'killed'; steps += 2) {
    await using world = await MessagingWorld.start()
    const alice = await world.person('alice')
    const phone = await world.sibling(alice)
    const { managerKey } = listOf(world, alice.identity.account)
    const drop = ({ client }: Device): Promise<void> => client.dropDevice(phone.identity.device, { signal: never })
    outcome = await liveFor(steps, world, alice, drop)
    const then = listOf(world, alice.identity.account)
    const isOff = !then.devices.some(({ device }) => sameBytes(device, phone.identity.device))
    if (isOff) assert.notDeepEqual(then.managerKey, managerKey, `killed after step ${steps}`)
    await alice.comeOnline()
    await world.over(drop(alice))
    const now = listOf(world, alice.identity.account)
    assert.deepEqual(
      now.devices.map(({ device }) => device),
      [alice.identity.device],
    )
    assert.notDeepEqual(now.managerKey, managerKey)
    assert.equal(await alice.client.manages(), true)
  }
  assert.ok(steps > 10, `${steps} steps are not all of them`)
})

test('C 4: whoever writes takes a device out first that its account has taken off, and that nobody else has', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  const laptop = await world.sibling(bob)
  await world.acquaint(alice, bob)
  const { conversation } = await alice.say('bob', 'to both')
  await alice.goOffline()
  world.server.lie = (name, _, session) =>
    name === 'commit' && session.device !== undefined && sameBytes(session.device, bob.identity.device)
      ? { kind: 'refuse', error: new RefusedError('limited', 'not now') }
      : undefined
  await assert.rejects(world.over(bob.client.dropDevice(laptop.identity.device, { signal: never })))
  await bob.goOffline()
  assert.ok(world.server.ledger(conversation)?.isOnRoster(laptop.identity.device))
  await alice.comeOnline({ tends: false })
  await alice.say('bob', 'to one')
  const last = world.server.log.slice(-2).map(({ request }) => ('commit' in request ? 'commit' : 'send'))
  assert.deepEqual(last, ['commit', 'send'])
  assert.equal(world.server.ledger(conversation)?.isOnRoster(laptop.identity.device), false)
})

test('a conversation that a lost device cannot be taken out of now keeps it in no other', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  const phone = await world.sibling(alice)
  await world.acquaint(alice, bob)
  const [one, other] = [await world.group(alice, 'one', bob), await world.group(alice, 'other', bob)]
  const [first] = (await Array.fromAsync(alice.client.conversations())).filter(({ kind }) => kind === 'group')
  world.server.lie = (name, body) =>
    name === 'commit' && first && sameBytes(decode(operations.commit.request, body).conversation, first.conversation)
      ? { kind: 'refuse', error: new RefusedError('not-permitted', 'no') }
      : undefined
  for (const each of [alice, bob, phone]) await each.goOffline()
  await alice.comeOnline({ tends: false })
  const { device } = phone.identity
  await assert.rejects(world.over(alice.client.dropDevice(device, { signal: never })), { reason: 'not-permitted' })
  const isOn = [one, other].map((group) => world.server.ledger(group)?.isOnRoster(device))
  assert.deepEqual(isOn.toSorted(), [false, true])
  world.server.lie = undefined
  await alice.goOffline()
  await alice.comeOnline()
  await world.pass(5 * 60_000)
  for (const group of [one, other]) assert.equal(world.server.ledger(group)?.isOnRoster(device), false)
})

function listOf(world: MessagingWorld, account: AccountId): VerifiedList {
  const list = world.server.lists.get(toBase64url(account))?.list
  assert.ok(list)
  return list
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../../src/memory-store.ts'
import { beginLinking, finishLinking } from '../../src/messaging/linking.ts'
import { type ConversationRow, contactRow, conversationRow } from '../../src/messaging/rows.ts'
import { accountKeys, accountRow, getRow, putRow } from '../../src/rows.ts'
import { never } from '../world.ts'
import { Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

test('whoever lets a device in is done when the server has what was said for it', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  await alice.say('bob', 'before')
  world.server.lie = (name) => (name === 'send' ? { kind: 'silence' } : undefined)
  const store = new MemoryStore()
  const code = await beginLinking({ store, world: world.world }, await alice.client.offer())
  let isDone = false
  const admitting = alice.client.admit(code, { signal: never }).then(() => {
    isDone = true
  })
  const { identity } = await world.over(finishLinking({ store, world: world.world, signal: never }))
  const phone = new Device(world, { name: 'alice II', store, identity })
  world.devices.push(phone)
  await phone.comeOnline()
  await world.pass(10_000)
  assert.equal(isDone, false)
  world.server.lie = undefined
  for (const session of world.server.sessions) session.cut()
  await world.over(admitting)
  assert.deepEqual(await phone.texts('bob'), ['before'])
})

test('I1: what is said first in a conversation that this device begins reaches the other devices of its account', async () => {
  await using world = await MessagingWorld.start()
  const alice = await world.person('alice')
  const phone = await world.sibling(alice)
  const bob = await world.person('bob')
  await alice.say('bob', 'one')
  await alice.say('me', 'two')
  await world.group(alice, 'team', bob)
  await alice.say('#team', 'three')
  assert.deepEqual(phone.heard, ['one', 'two', 'three'])
})

test('a device that does not manage the account offers nothing', async () => {
  await using world = await MessagingWorld.start()
  const alice = await world.person('alice')
  const phone = await world.sibling(alice)
  assert.deepEqual([await alice.client.manages(), await phone.client.manages()], [true, false])
  await assert.rejects(phone.client.offer(), { reason: 'not-manager' })
})

test('a device that was let in calls a group what it is called now', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  const group = await world.group(alice, 'Board', bob)
  await world.over(alice.client.rename('#Board', 'Bored', { signal: never }))
  await world.over(alice.client.appoint('#Bored', ['bob'], { signal: never }))
  const tablet = await world.sibling(bob)
  assert.equal((await tablet.client.describe(group))?.title, 'Bored')
})

test('a device that was let in knows whom its user has compared with, and whom they have turned away', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob, mallory] = await world.people('alice', 'bob', 'mallory')
  await world.acquaint(alice, bob)
  await world.over(alice.client.markVerified('bob', { signal: never }))
  await world.over(alice.client.judge('mallory', 'block', { signal: never }))
  const phone = await world.sibling(alice)
  assert.equal((await phone.client.safetyWith('bob', { signal: never })).isVerified, true)
  assert.equal((await getRow(phone.store, contactRow, mallory.identity.account))?.standing, 'blocked')
  await world.over(alice.client.judge('mallory', 'unblock', { signal: never }))
  await still()
  assert.equal((await getRow(phone.store, contactRow, mallory.identity.account))?.standing, 'stranger')
})

test('what the user decides while a device has no place among the own ones, these hear once it has', async () => {
  await using world = await MessagingWorld.start()
  const [alice, mallory] = await world.people('alice', 'mallory')
  const phone = await world.sibling(alice)
  const { ownDevices } = (await getRow(alice.store, accountRow, accountKeys.account)) ?? assert.fail()
  const row = (ownDevices && (await getRow(alice.store, conversationRow, ownDevices))) ?? assert.fail()
  const stand = (standing: ConversationRow['standing']) =>
    alice.store.commit([putRow(conversationRow, row.conversation, { ...row, standing })], alice.store.revision)
  await stand({ kind: 'left', body: undefined })
  await world.over(alice.client.judge('mallory', 'block', { signal: never }))
  await stand(row.standing)
  await alice.goOffline()
  await alice.comeOnline()
  await still()
  assert.equal((await getRow(phone.store, contactRow, mallory.identity.account))?.standing, 'blocked')
})

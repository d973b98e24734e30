import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ConversationId } from '@messageu/protocol/v3'
import { never } from '../world.ts'
import { type Device, MessagingWorld } from './people.ts'

const dayMs = 86_400_000

/** Days go by, and the server forgets what has waited for too long. */
async function days(world: MessagingWorld, count: number): Promise<void> {
  world.clock.jump(count * dayMs)
  world.server.expire()
}

/** Carol comes and goes: the conversation is two epochs further. */
async function visit(world: MessagingWorld, host: Device): Promise<void> {
  await world.over(host.client.addPeople('#team', ['carol'], { signal: never }))
  await world.over(host.client.removePeople('#team', ['carol'], { signal: never }))
}

async function gapsOf(device: Device, conversation: ConversationId): Promise<readonly string[]> {
  const items = await device.historyOf(conversation)
  return items.flatMap((item) => (item.kind === 'gap' ? `${item.sequence}-${item.through} ${item.why}` : []))
}

describe('N07: a device that was away for longer than the server keeps what waits', () => {
  test('rejoins where its commits have expired, says what is missing, and goes on', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const team = await world.group(alice, 'team', bob)
    await alice.say('#team', 'before')
    await bob.goOffline()
    const from = (world.server.ledger(team)?.sequence ?? 0) + 1
    await alice.say('#team', 'lost')
    await visit(world, alice)
    const through = world.server.ledger(team)?.sequence ?? 0
    await days(world, 91)
    await bob.comeOnline()
    await world.pass(120_000)
    assert.equal((await bob.client.describe(team))?.standing, 'active')
    assert.deepEqual(await gapsOf(bob, team), [`${from}-${through} expired`])
    assert.deepEqual([bob.told('stuck').length, bob.told('rejoined').length], [1, 1])
    await bob.say('#team', 'I am back')
    await alice.say('#team', 'welcome back')
    assert.deepEqual(alice.heard, ['I am back'])
    assert.deepEqual(bob.heard, ['before', 'welcome back'])
  })

  test('finds where it was brought in meanwhile, though the Welcome has expired', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await bob.goOffline()
    await alice.say('bob', 'lost')
    const team = await world.group(alice, 'team', bob)
    await days(world, 91)
    await bob.comeOnline()
    await world.pass(120_000)
    assert.equal((await bob.client.describe(team))?.standing, 'active')
    await alice.say('bob', 'are you back?')
    await alice.say('#team', 'all of you?')
    assert.deepEqual(bob.heard, ['are you back?', 'all of you?'])
    await bob.say('alice', 'I am')
    assert.deepEqual(alice.heard, ['I am'])
  })

  test('takes the Welcome where it still waits, and reads what was said since', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await bob.goOffline()
    await days(world, 46)
    await alice.say('bob', 'while you were away')
    await bob.comeOnline()
    await world.pass(120_000)
    assert.deepEqual(bob.heard, ['while you were away'])
    assert.equal(bob.told('rejoined').length, 0)
  })

  test('can write at once: its message waits until it has its place again', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    await world.group(alice, 'team', bob)
    await bob.goOffline()
    await visit(world, alice)
    await days(world, 91)
    await bob.comeOnline({ tends: false })
    await bob.say('#team', 'still there?')
    assert.deepEqual(alice.heard, ['still there?'])
  })

  test('is told of messages that have expired although nothing came behind them', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    await bob.goOffline()
    const from = (world.server.ledger(team)?.sequence ?? 0) + 1
    await alice.say('#team', 'lost')
    await alice.say('#team', 'lost as well')
    await days(world, 46)
    await bob.comeOnline()
    await world.pass(120_000)
    assert.deepEqual(await gapsOf(bob, team), [`${from}-${from + 1} expired`])
    assert.deepEqual(bob.told('stuck'), [])
    await alice.say('#team', 'again')
    assert.deepEqual(bob.heard, ['again'])
  })

  test('looks for nothing where it was away for a shorter time', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await world.group(alice, 'team', bob)
    await bob.goOffline()
    await days(world, 44)
    const before = world.server.requests.length
    await bob.comeOnline()
    await world.pass(120_000)
    assert.ok(!world.server.requests.slice(before).some(({ name }) => name === 'read-state'))
  })
})

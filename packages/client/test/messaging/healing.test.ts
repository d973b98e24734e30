import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ConversationId, limits as protocol, RefusedError } from '@messageu/protocol/v3'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { altered } from './spoiling.ts'

/** Commits of a device in a conversation that the server has accepted. */
function commitsOf(world: MessagingWorld, { identity }: Device, conversation: ConversationId): number {
  return world.server.log.filter(
    ({ device, request }) =>
      'commit' in request && same(device, identity.device) && same(request.conversation, conversation),
  ).length
}

describe('a device gives its leaf new keys', () => {
  test('before its first message, if somebody has brought it in, and not again before the second', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    assert.equal(commitsOf(world, bob, team), 0)
    await bob.sayTo(team, 'one')
    assert.equal(commitsOf(world, bob, team), 1)
    await bob.sayTo(team, 'two')
    await world.pass(10 * limits.newcomerDelayMs)
    assert.equal(commitsOf(world, bob, team), 1)
    assert.deepEqual(alice.heard, ['one', 'two'])
  })

  test('after a random while, if it has been brought in and says nothing', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const team = await world.group(alice, 'team', bob, carol)
    const byAlice = commitsOf(world, alice, team)
    await Promise.all([bob.client.idle(), carol.client.idle()]) // nobody waits for it
    assert.deepEqual([commitsOf(world, bob, team), commitsOf(world, carol, team)], [0, 0])
    await world.pass((limits.newcomerDelayMs * 3) / limits.newcomersPerDelay + limits.placeMs)
    assert.deepEqual([commitsOf(world, bob, team), commitsOf(world, carol, team)], [1, 1])
    await world.pass(10 * limits.newcomerDelayMs)
    assert.deepEqual([commitsOf(world, bob, team), commitsOf(world, carol, team)], [1, 1])
    assert.equal(commitsOf(world, alice, team), byAlice, 'who has begun it has chosen its keys itself')
  })

  test('at a time of its own, where many are brought in at the same time', async () => {
    await using world = await MessagingWorld.start()
    const [alice, ...others] = await world.people('alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'heidi')
    await world.acquaint(alice, ...others)
    const team = await world.group(alice, 'team', ...others)
    const tried: number[] = []
    world.server.lie = (name) => void (name === 'commit' && tried.push(world.clock.monotonicMs()))
    await world.pass((limits.newcomerDelayMs * 8) / limits.newcomersPerDelay + limits.placeMs)
    assert.deepEqual(
      others.map((each) => commitsOf(world, each, team)),
      others.map(() => 1),
    )
    assert.equal(tried.length, others.length, 'nobody comes in the way of another one')
    assert.ok(new Set(tried).size > 1)
  })

  test('not before it is accepted, if a stranger has brought it in', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob] = await world.people('mallory', 'bob')
    const party = await world.group(mallory, 'party', bob)
    await world.pass(limits.newcomerDelayMs)
    assert.equal(commitsOf(world, bob, party), 0)
    await bob.client.judge('mallory', 'accept', { signal: never })
    await world.pass(limits.newcomerDelayMs)
    assert.equal(commitsOf(world, bob, party), 1)
  })

  test('and has them already where it has taken its place from outside', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    await bob.goOffline()
    world.server.mailbox(bob.identity.device).waiting.length = 0
    await alice.sayTo(team, 'one')
    world.clock.jump(protocol.retentionMs + 1)
    await world.over(alice.sayTo(team, 'two')) // by new keys: Bob is an epoch behind that nobody tells him of
    world.server.mailbox(bob.identity.device).waiting.length = 0
    await bob.comeOnline()
    await world.pass(1_000)
    const before = commitsOf(world, bob, team)
    assert.equal(bob.told('rejoined').length, 1)
    await bob.sayTo(team, 'three')
    await world.pass(10 * limits.newcomerDelayMs)
    assert.equal(commitsOf(world, bob, team), before)
    assert.equal(alice.heard.at(-1), 'three')
  })

  test('and is not kept from its message where others are always faster, nor by a server that takes no commits', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    const { generation = 0, epoch = 0 } = world.server.ledger(team) ?? {}
    const current = { kind: 'epoch', body: { generation, epoch, sequence: 0 } } as const
    let tried = 0
    world.server.lie = (name) => {
      if (name !== 'commit') return undefined
      tried += 1
      return { kind: 'refuse', error: new RefusedError('stale-epoch', 'another one was first', { current }) }
    }
    await bob.sayTo(team, 'contested')
    assert.ok(tried >= limits.commitAttempts)
    tried = 0
    await bob.sayTo(team, 'at once')
    assert.equal(tried, 0, 'what has just failed does not hold up every message')
    await world.pass(limits.updateRetryMs + 10 * limits.newcomerDelayMs)
    world.server.lie = (name) =>
      name === 'commit' ? { kind: 'refuse', error: new RefusedError('not-permitted', 'no commits today') } : undefined
    await world.pass(limits.updateRetryMs)
    await bob.sayTo(team, 'refused')
    assert.equal(commitsOf(world, bob, team), 0)
    world.server.lie = undefined
    await world.pass(limits.updateRetryMs)
    await bob.sayTo(team, 'in the end')
    assert.equal(commitsOf(world, bob, team), 1)
    assert.deepEqual(alice.heard, ['contested', 'at once', 'refused', 'in the end'])
  })

  test('and does not wait for long for a commit that is accepted and withheld', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    world.server.twist = (to, parts) => (parts.kind === 'commit' && same(to, bob.identity.device) ? [] : [parts])
    const began = world.clock.monotonicMs()
    await bob.sayTo(team, 'all the same')
    assert.ok(world.clock.monotonicMs() - began < limits.placeMs)
    assert.deepEqual(alice.heard, ['all the same'])
  })

  test('and says what it had to say also where it is stuck by that, once it has found its way back', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    let isAltered = false
    world.server.twist = (to, parts) => {
      if (isAltered || parts.kind !== 'commit' || !same(to, bob.identity.device)) return [parts]
      isAltered = true
      return [altered(parts)]
    }
    await bob.sayTo(team, 'all the same')
    assert.equal(bob.told('stuck').length, 1)
    assert.equal(bob.told('rejoined').length, 1)
    assert.deepEqual(alice.heard, ['all the same'])
  })

  test('before the first message after a week in which it has said nothing', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    await bob.sayTo(team, 'here I am')
    const before = commitsOf(world, bob, team)
    world.clock.jump(limits.updateMs + 1)
    await bob.sayTo(team, 'is anybody there?')
    assert.equal(commitsOf(world, bob, team), before + 1)
  })

  test('whatever it commits meanwhile that brings none: who is in, and who owns', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const team = await world.group(alice, 'team', bob)
    const say = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) await alice.client.sendTo(team, { text: 'x' }, { signal: never })
    }
    // the title that whoever begins a group says is a message, too
    await say(limits.messagesPerUpdate - 10)
    await world.pass(1_000)
    await world.over(alice.client.addPeople('#team', ['carol'], { signal: never })) // which says the title again
    await world.over(alice.client.appoint('#team', ['alice', 'bob'], { signal: never }))
    const before = commitsOf(world, alice, team)
    await say(10)
    assert.equal(commitsOf(world, alice, team), before + 1)
  })
})

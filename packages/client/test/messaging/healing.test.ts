import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ConversationId } from '@messageu/protocol/v3'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'

/** Commits of a device in a conversation that the server has accepted. */
function commitsOf(world: MessagingWorld, { identity }: Device, conversation: ConversationId): number {
  return world.server.log.filter(
    ({ device, request }) =>
      'commit' in request && same(device, identity.device) && same(request.conversation, conversation),
  ).length
}

describe('a device gives its leaf new keys', () => {
  test('before the first message after a week in which it has said nothing', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
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

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { DeliveredCommit, DeliveredWelcome, type RefusedError } from '@messageu/protocol/v3'
import { ConversationsWorld, newConversationId, refusal, settled, until } from './conversationsworld.ts'

for (const kind of ['memory', 'sqlite'])
  describe(`conversations on ${kind}`, () => {
    test('smoke', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, tablet] = world.person('alice', 2)
      const [bob] = world.person('bob')
      assert(alice && tablet && bob)
      await bob.connect()
      const conversation = await world.group(alice, tablet, bob)
      const accepted = await alice.say(conversation, 'hello')
      await until(() => bob.line.texts.length === 1)
      assert.deepEqual(bob.line.heard.map(({ kind, sequence }) => [kind, sequence]), [['welcome', 1], ['commit', 1], ['application', 2]])
      assert.equal(accepted.sequence, 2)
      await tablet.connect()
      await until(() => tablet.line.texts.length === 1)
      await tablet.acknowledge()
      await bob.acknowledge()
      await alice.connect()
      await until(() => alice.line.heard.length === 1)
      await alice.acknowledge()
      await world.trim()
      assert.equal(world.stored(conversation), 0)
      await world.restart([alice, bob, tablet])
      const state = await bob.ask('read-state', { conversation })
      assert.equal(state.sequence, 2)
      assert.equal((await bob.say(conversation, 'again')).sequence, 3)
    })
  })

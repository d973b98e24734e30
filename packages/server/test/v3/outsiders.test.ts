import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConversationsWorld, newConversationId, type Phone, refusal } from './conversationsworld.ts'

for (const kind of ['memory', 'sqlite'])
  test(`C04: on ${kind}, nobody comes by themselves to where their account has no device yet`, async () => {
    await using world = await ConversationsWorld.start(kind)
    const [[alice], [bob, tablet]] = [world.person('alice'), world.person('bob', 2)] as [[Phone], [Phone, Phone]]
    const target = { kind: 'direct' as const, body: bob.account.id }
    const { conversation } = await alice.ask('open', { conversation: newConversationId(), target })
    const alone = bob.commit(conversation, [alice, bob], { welcomes: [] })
    await assert.rejects(alone, refusal('not-permitted'), 'one of the pair, and nobody has brought them in')
    await alice.commit(conversation, [alice, bob])
    await tablet.commit(conversation, [alice, bob, tablet], { welcomes: [] })

    const group = await world.group(alice, bob)
    await alice.ask('recreate', { conversation: group, generation: 2, roster: [alice.id, bob.id] })
    const awaited = bob.commit(group, [alice, bob], { welcomes: [], generation: 2, epoch: 0 })
    await assert.rejects(awaited, refusal('not-permitted'), 'awaited in a new generation')
    await alice.commit(group, [alice, bob], { generation: 2, epoch: 0 })
  })

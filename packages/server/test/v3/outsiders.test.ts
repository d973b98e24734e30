import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '@messageu/protocol/v3'
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

for (const kind of ['memory', 'sqlite'])
  test(`C04: on ${kind}, who comes from outside brings nobody along, and takes nobody else out`, async () => {
    await using world = await ConversationsWorld.start(kind)
    const [[alice], [bob, tablet, watch]] = [world.person('alice'), world.person('bob', 3)] as [
      [Phone],
      [Phone, Phone, Phone],
    ]
    const group = await world.group(alice, bob)
    for (const roster of [
      [alice, bob, tablet, watch],
      [bob, tablet],
    ])
      await assert.rejects(tablet.commit(group, roster, { welcomes: [] }), refusal('not-permitted'))
    await tablet.commit(group, [alice, bob, tablet], { welcomes: [] })
  })

test('C09: commits go above a quota, so that members can be removed, but not without end', async () => {
  await using world = await ConversationsWorld.start('memory')
  const [[alice], [bob]] = [world.person('alice'), world.person('bob')] as [[Phone], [Phone]]
  const group = await world.group(alice, bob)
  alice.account.quotaBytes = 0
  await assert.rejects(alice.say(group, 'no room'), refusal('mailbox-full'))
  const large = { commit: new Uint8Array(limits.handshakeBytesMax) }
  const most = 64 * 2 ** 20
  let bytes = 0
  const fill = async (): Promise<void> => {
    for (; bytes <= most; bytes += limits.handshakeBytesMax) await alice.commit(group, [alice, bob], large)
  }
  await assert.rejects(fill(), refusal('mailbox-full'))
  assert.equal(bytes, most - limits.handshakeBytesMax)
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { type ConversationId, DeliveredWelcome } from '@messageu/protocol/v3'
import { conversationRow } from '../../src/messaging/rows.ts'
import { getRow, putRow } from '../../src/rows.ts'
import { never } from '../world.ts'
import { holdBack, recordFor, repeat, showTree } from './interception.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** Two people who know each other, and what the server has delivered to the second. */
async function pair(world: MessagingWorld) {
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  await alice.say('bob', 'first')
  return { alice, bob }
}

describe('S05: a server that delivers everything several times', () => {
  for (const times of [1, 2, 3, 5, 10])
    test(`shows each message once when everything comes ${times} times (I2)`, async () => {
      await using world = await MessagingWorld.start()
      world.server.twist = (_to, parts) => Array.from({ length: times }, () => parts)
      const [alice, bob] = await world.people('alice', 'bob')
      await world.acquaint(alice, bob)
      for (const text of ['one', 'two']) await alice.say('bob', text)
      await bob.say('alice', 'three')
      await world.group(alice, 'team', bob)
      await alice.say('#team', 'four')
      assert.deepEqual(bob.heard, ['one', 'two', 'four'])
      assert.deepEqual(alice.heard, ['three'])
      assert.deepEqual(await bob.texts('alice'), ['one', 'two', 'three'])
      assert.deepEqual([bob.kinds('unopened'), bob.kinds('gap'), alice.kinds('gap')], [[], [], []])
      assert.deepEqual([bob.told('unwelcome'), bob.told('stuck'), bob.told('fork')], [[], [], []])
      assert.equal(bob.kinds('joined').length, 2)
    })
})

describe('S03: what was delivered before and comes again', () => {
  test('a message, a commit and a Welcome show nothing a second time, whatever place they are given', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    const kept = recordFor(world.server, bob.identity.device)
    await world.acquaint(alice, bob)
    for (const text of ['one', 'two']) await alice.say('bob', text)
    await world.group(alice, 'team', bob)
    await alice.client.rename('#team', 'crew', { signal: AbortSignal.timeout(60_000) })
    await still()
    const shown = bob.shown.length
    world.server.twist = undefined
    repeat(world.server, bob.identity.device, kept)
    await still()
    assert.deepEqual(bob.heard, ['one', 'two'])
    assert.deepEqual(bob.shown.slice(shown), [])
  })

  test('in place of something new, it is noticed by what the others have seen', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob } = await pair(world)
    const kept = recordFor(world.server, bob.identity.device)
    const { sequence } = await alice.say('bob', 'second')
    const [second] = kept
    assert.ok(second)
    world.server.slip(bob.identity.device, { ...second, sequence: sequence + 1 })
    await still()
    for (const text of ['withheld', 'third']) await alice.say('bob', text)
    assert.deepEqual(bob.heard, ['first', 'second', 'third'])
    assert.equal(bob.told('differs').length, 1)
  })

  test('a Welcome into what this device was taken out of brings it back nowhere', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const kept = recordFor(world.server, bob.identity.device)
    const group = await world.group(alice, 'team', bob)
    await world.over(alice.client.removePeople('#team', ['bob'], { signal: AbortSignal.timeout(60_000) }))
    await still()
    const shown = bob.shown.length
    for (const parts of kept) if (parts.kind === 'welcome') world.server.slip(bob.identity.device, parts)
    await still()
    assert.equal((await bob.client.describe(group))?.standing, 'removed')
    assert.equal(bob.shown.length, shown)
  })
})

describe('S03, D 6: a Welcome that its conversation has forgotten, and that comes again', () => {
  for (const { by, isLastResort, told } of [
    { by: 'a key package that is gone with it', isLastResort: false, told: 1 },
    { by: 'the last resort, which remembers it', isLastResort: true, told: 0 },
  ])
    test(`brings back nobody who came by ${by}`, async () => {
      await using world = await MessagingWorld.start()
      const [alice, bob] = await world.people('alice', 'bob')
      await world.acquaint(alice, bob)
      const shelf = world.server.shelf.of(bob.identity.device)
      if (isLastResort) shelf.splice(0, shelf.length, ...shelf.filter((each) => each.isLastResort))
      const kept = recordFor(world.server, bob.identity.device)
      const group = await world.group(alice, 'team', bob)
      const [welcome] = kept.filter(({ kind }) => kind === 'welcome')
      assert.ok(welcome?.sealed)
      const { treeHash } = decode(DeliveredWelcome, welcome.sealed)
      const tree = world.server.ledger(group)?.tree(treeHash)
      assert.ok(tree)
      await world.over(alice.client.removePeople('#team', ['bob'], { signal: never }))
      await bob.goOffline()
      await forgetWelcomes(bob, group)
      await bob.comeOnline()
      const shown = bob.shown.length
      showTree(world.server, tree)
      world.server.slip(bob.identity.device, welcome)
      await still()
      assert.equal((await bob.client.describe(group))?.standing, 'removed')
      assert.equal(bob.shown.length, shown + told)
      assert.equal(bob.told('unwelcome').length, told)
    })
})

/** As if so many others had come since that it does not remember the first one. */
async function forgetWelcomes({ store }: Device, conversation: ConversationId): Promise<void> {
  const row = await getRow(store, conversationRow, conversation)
  assert.ok(row)
  assert.equal(row.welcomes.length, 1)
  await store.commit([putRow(conversationRow, conversation, { ...row, welcomes: [] })], store.revision)
}

describe('S04: a server that delivers in another order than it has promised', () => {
  test('messages of one epoch are all shown, and the history has them in their order (I3)', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob } = await pair(world)
    const held = holdBack(world.server, bob.identity.device)
    const texts = Array.from({ length: 20 }, (_, i) => `message ${i}`)
    for (const text of texts) await alice.say('bob', text)
    world.server.twist = undefined
    for (const parts of held.reverse()) world.server.slip(bob.identity.device, parts)
    await still()
    assert.deepEqual([...bob.heard].sort(), ['first', ...texts].sort())
    assert.deepEqual(await bob.texts('alice'), ['first', ...texts])
    assert.deepEqual(bob.kinds('unopened'), [])
  })

  test('a message that comes behind the commit after it is shown at its place', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    await world.group(alice, 'team', bob)
    const held = holdBack(world.server, bob.identity.device)
    await alice.say('#team', 'before')
    await world.over(alice.client.addPeople('#team', ['carol'], { signal: AbortSignal.timeout(60_000) }))
    await alice.say('#team', 'after')
    world.server.twist = undefined
    const [late, ...others] = held
    assert.ok(late)
    for (const parts of [...others, late]) world.server.slip(bob.identity.device, parts)
    await still()
    assert.deepEqual(await bob.texts('#team'), ['before', 'after'])
    assert.deepEqual([...bob.heard].sort(), ['after', 'before'])
  })

  test('250 messages of one sender that never come are a gap that is seen, and the conversation goes on', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob } = await pair(world)
    const held = holdBack(world.server, bob.identity.device)
    for (let i = 0; i < 250; i++)
      await alice.client.send('bob', { text: `lost ${i}` }, { signal: AbortSignal.timeout(60_000) })
    world.server.twist = undefined
    await alice.say('bob', 'found')
    await world.pass(20_000)
    assert.deepEqual(bob.heard, ['first', 'found'])
    const gaps = bob.kinds('gap').map((each) => (each.kind === 'gap' ? each.through - each.sequence + 1 : 0))
    assert.equal(
      gaps.reduce((sum, count) => sum + count, 0),
      held.length,
    ) // with the renewals of keys among them
    await bob.say('alice', 'I missed some')
    assert.deepEqual(alice.heard, ['I missed some'])
  })
})

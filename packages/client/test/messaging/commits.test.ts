import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ConversationId } from '@messageu/protocol/v3'
import { ClientError } from '../../src/errors.ts'
import { conversationRow } from '../../src/messaging/rows.ts'
import { getRow, putRow } from '../../src/rows.ts'
import { never } from '../world.ts'
import { holdBack } from './interception.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { altered, spoil } from './spoiling.ts'
import { still } from './stillness.ts'

async function team(world: MessagingWorld): Promise<{ people: readonly Device[]; group: ConversationId }> {
  const people = await world.people('alice', 'bob', 'carol', 'dave')
  const [alice, bob, carol, dave] = people
  await world.acquaint(...people)
  const group = await world.group(alice, 'team', bob, carol, dave)
  return { people, group }
}

/** Everybody hears everybody, in one order. */
async function talk(people: readonly Device[], group: ConversationId): Promise<void> {
  for (const each of people) await each.sayTo(group, `by ${each.name}`)
  const [first, ...others] = await Promise.all(people.map((each) => each.historyOf(group)))
  const said = people.map(({ name }) => `by ${name}`)
  for (const items of [first, ...others])
    assert.deepEqual(
      items?.flatMap((item) => (item.kind === 'message' && item.content.kind === 'text' ? item.content.body.text : [])),
      said,
    )
}

/** As if the commit that cannot be applied were signed as its author's program signs: the spoilt ones are signed by nobody. */
async function blame({ store }: Device, conversation: ConversationId, { identity }: Device): Promise<void> {
  const row = await getRow(store, conversationRow, conversation)
  assert.ok(row?.standing.kind === 'stuck')
  const standing = { kind: 'stuck', body: { ...row.standing.body, by: identity.account } } as const
  await store.commit([putRow(conversationRow, conversation, { ...row, standing })], store.revision)
}

/** Nobody can apply the next commit of this member, nor enter by what it left. */
async function poison(world: MessagingWorld, by: Device, group: ConversationId): Promise<void> {
  const { stop } = spoil(world.server, by.identity.device, ['commit', 'groupInfo'])
  world.clock.jump(8 * 86_400_000)
  by.client.sendTo(group, { text: 'meanwhile' }, { signal: never }).catch(() => {})
  await world.pass(2_000)
  stop()
}

describe('C13: commits that cannot be applied', () => {
  test('a member poisons an epoch: everybody refuses it alike, and the conversation goes on', async () => {
    await using world = await MessagingWorld.start()
    const { people, group } = await team(world)
    const [alice, bob, , dave] = people
    assert.ok(alice && bob && dave)
    const { stop } = spoil(world.server, bob.identity.device, ['commit'])
    const sending = bob.client.sendTo(group, { text: 'lost?' }, { signal: never })
    sending.catch(() => {})
    world.clock.jump(8 * 86_400_000)
    bob.client.sendTo(group, { text: 'also lost?' }, { signal: never }).catch(() => {})
    await world.pass(2_000)
    stop()
    await world.pass(180_000)
    for (const each of people) {
      assert.equal((await each.client.describe(group))?.standing, 'active', each.name)
      assert.ok(each.told('stuck').length > 0, each.name)
    }
    for (const each of people) await each.sayTo(group, `by ${each.name}`)
    for (const each of people)
      for (const other of people) if (each !== other) assert.ok(each.heard.includes(`by ${other.name}`), each.name)
  })

  test('a member poisons an epoch and its public state: after a while it is begun anew, and goes on', async () => {
    await using world = await MessagingWorld.start()
    const { people, group } = await team(world)
    const [, bob] = people
    assert.ok(bob)
    await bob.sayTo(group, 'before')
    await poison(world, bob, group)
    await world.pass(600_000)
    assert.ok((world.server.ledger(group)?.generation ?? 1) > 1)
    const told = people.filter((each) => each.told('renewed').length > 0)
    assert.equal(told.length, people.length - 1, 'all but whoever has begun it')
    for (const each of people) assert.equal((await each.client.describe(group))?.standing, 'active', each.name)
    for (const each of people) await each.sayTo(group, `by ${each.name}`)
    for (const each of people)
      for (const other of people) if (each !== other) assert.ok(each.heard.includes(`by ${other.name}`), each.name)
  })

  test('whoever has made the one that ended a group is left out when somebody else begins it anew', async () => {
    await using world = await MessagingWorld.start()
    const { people, group } = await team(world)
    const [alice, bob] = people
    assert.ok(alice && bob)
    await bob.sayTo(group, 'before')
    await poison(world, bob, group)
    for (const each of people) await each.goOffline()
    await blame(alice, group, bob)
    await alice.comeOnline()
    await world.pass(600_000)
    assert.deepEqual(await alice.members(group), ['alice', 'carol', 'dave'])
  })

  test('of one member, while what the server shows is spoilt: the others commit, and it comes back by that', async () => {
    await using world = await MessagingWorld.start()
    const { people, group } = await team(world)
    const [alice, bob] = people
    assert.ok(alice && bob)
    await talk(people, group) // nobody commits any more for having come
    const { stop } = spoil(world.server, bob.identity.device, ['groupInfo'])
    world.clock.jump(8 * 86_400_000)
    await bob.sayTo(group, 'this brings new keys')
    stop()
    const ledger = world.server.ledger(group) ?? assert.fail()
    ledger.sequence += 1
    const { generation, sequence } = ledger
    const sealed = new Uint8Array(100)
    world.server.slip(alice.identity.device, { conversation: group, generation, sequence, kind: 'commit', sealed })
    await world.pass(30_000)
    assert.equal(alice.told('stuck').length, 1)
    assert.equal((await alice.client.describe(group))?.standing, 'active')
    assert.equal(world.server.ledger(group)?.generation, generation)
    await alice.sayTo(group, 'here again')
    for (const each of people.slice(1)) assert.equal(each.heard.at(-1), 'here again', each.name)
  })

  test('one’s own commit that the server has altered: whoever wanted it is told, and the device finds its way back', async () => {
    await using world = await MessagingWorld.start()
    const { people, group } = await team(world)
    const [alice, bob] = people
    assert.ok(alice && bob)
    await world.person('erin')
    let isAltered = false
    world.server.twist = (to, parts) => {
      if (isAltered || parts.kind !== 'commit' || !same(to, alice.identity.device)) return [parts]
      isAltered = true
      return [altered(parts)]
    }
    const adding = alice.client.addPeople('#team', ['erin'], { signal: never })
    await assert.rejects(world.over(adding), { reason: 'bad-answer' })
    await world.pass(120_000)
    assert.equal((await alice.client.describe(group))?.standing, 'active')
    await talk(people, group)
  })

  test('one that takes somebody out who cannot apply it: they are told so, and may be brought back', async () => {
    await using world = await MessagingWorld.start()
    const { people, group } = await team(world)
    const [alice, bob] = people
    assert.ok(alice && bob)
    await talk(people, group)
    world.server.twist = (to, parts) =>
      parts.kind === 'commit' && same(to, bob.identity.device) ? [altered(parts)] : [parts]
    await world.over(alice.client.removePeople('#team', ['bob'], { signal: never }))
    await world.pass(120_000)
    world.server.twist = undefined
    assert.equal((await bob.client.describe(group))?.standing, 'waiting')
    assert.equal(bob.told('stuck').length, 2, 'that it cannot follow, and that it has no place')
    await world.over(alice.client.addPeople('#team', ['bob'], { signal: never }))
    await alice.sayTo(group, 'back again')
    assert.equal(bob.heard.at(-1), 'back again')
  })

  test('of two members who commit at once one wins, and both get what they wanted', async () => {
    await using world = await MessagingWorld.start()
    const { people, group } = await team(world)
    const [alice, bob] = people
    assert.ok(alice && bob)
    for (const name of ['erin', 'frank']) await world.person(name)
    await world.over(alice.client.appoint('#team', ['alice', 'bob'], { signal: never }))
    await world.over(
      Promise.all([
        alice.client.addPeople('#team', ['erin'], { signal: never }),
        bob.client.addPeople('#team', ['frank'], { signal: never }),
      ]),
    )
    await world.pass(5_000)
    for (const each of people)
      assert.deepEqual(await each.members(group), ['alice', 'bob', 'carol', 'dave', 'erin', 'frank'])
    await talk(people, group)
  })
})

test('C 5: a commit that is delivered a while after it was accepted takes effect then, once', async () => {
  await using world = await MessagingWorld.start()
  const { people, group } = await team(world)
  const [alice] = people
  assert.ok(alice)
  const late = holdBack(world.server, alice.identity.device)
  const removing = alice.client.removePeople('#team', ['dave'], { signal: never })
  await world.pass(5_000)
  world.server.twist = undefined
  for (const parts of late) world.server.slip(alice.identity.device, parts)
  await world.over(removing)
  assert.deepEqual(await alice.members(group), ['alice', 'bob', 'carol'])
})

test('C 5: a commit that waits at the server is waited for, however long', async () => {
  await using world = await MessagingWorld.start()
  const { people, group } = await team(world)
  const [alice] = people
  assert.ok(alice)
  const { device } = alice.identity
  const late = holdBack(world.server, device)
  const removing = alice.client.removePeople('#team', ['dave'], { signal: never })
  await world.pass(5_000)
  world.server.held = late.map((parts) => ({ to: device, parts }))
  await assert.rejects(world.over(removing), ClientError)
  await world.pass(10 * 60_000)
  world.server.twist = undefined
  world.server.held = []
  for (const parts of late) world.server.slip(device, parts)
  await still()
  assert.deepEqual(await alice.members(group), ['alice', 'bob', 'carol'])
  assert.deepEqual([alice.told('stuck'), alice.kinds('gap')], [[], []])
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, encode } from '@messageu/protocol'
import { ConversationId, DeliveredWelcome, DeviceId, Hash, RefusedError, toBase64url } from '@messageu/protocol/v3'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import { conversationRow, historyRow } from '../../src/messaging/rows.ts'
import { getRow, rowsOf } from '../../src/rows.ts'
import { never, random } from '../world.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

const someId = (): ConversationId => decode(ConversationId, random(ConversationId.max))

/** A Welcome that nobody has made, into something that does not exist. */
function falseWelcome(): Uint8Array {
  const [sender, treeHash] = [decode(DeviceId, random(DeviceId.max)), decode(Hash, random(Hash.max))]
  return encode(DeliveredWelcome, { epoch: 1, sender, treeHash, welcome: random(300) })
}

/** The server shows a device nothing of any conversation. */
function hideFrom({ server }: MessagingWorld, { identity }: Device): void {
  const gone = new RefusedError('not-permitted', 'it is gone')
  server.lie = (name, _, { device }) => {
    const isHidden = name === 'read-tree' || name === 'read-state'
    return isHidden && device && same(device, identity.device) ? { kind: 'refuse', error: gone } : undefined
  }
}

const groupsOf = async ({ client }: Device) =>
  (await Array.fromAsync(client.conversations())).filter(({ kind }) => kind === 'group')

describe('S09: conversations that only the server has spoken of', () => {
  test('are not listed, named or told of, are so many at the most, and use up nothing', async () => {
    await using world = await MessagingWorld.start()
    const [bob] = await world.people('bob')
    const ids = Array.from({ length: limits.announcedMax + 40 }, someId)
    for (const conversation of ids) {
      const parts = { conversation, generation: 1, sequence: 1, kind: 'welcome', sealed: falseWelcome() } as const
      world.server.slip(bob.identity.device, parts)
    }
    await still()
    assert.equal(await bob.client.announced(), limits.announcedMax)
    assert.deepEqual(await groupsOf(bob), [])
    assert.deepEqual(bob.shown, [])
    const newest = ids.at(-1)
    assert(newest !== undefined)
    await assert.rejects(bob.client.conversation(`#${toBase64url(newest)}`), { reason: 'unknown-conversation' })
    await world.pass(60_000)
    assert.deepEqual([await groupsOf(bob), bob.shown], [[], []])
    const [alice] = await world.people('alice')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    const row = await getRow(bob.store, conversationRow, team)
    assert(row !== undefined && row.number <= limits.announcedMax + 4, 'numbers are used again')
    await alice.say('#team', 'hello')
    assert.deepEqual(bob.heard, ['hello'])
  })

  test('hold so many messages at the most, none of their bytes, and let go of them when others take their room', async () => {
    await using world = await MessagingWorld.start()
    const [bob] = await world.people('bob')
    const { device } = bob.identity
    const welcome = (conversation: ConversationId) =>
      world.server.slip(device, { conversation, generation: 1, sequence: 1, kind: 'welcome', sealed: falseWelcome() })
    const first = someId()
    welcome(first)
    for (let sequence = 2; sequence < limits.announcedItemsMax + 50; sequence++)
      world.server.slip(device, {
        conversation: first,
        generation: 1,
        sequence,
        kind: 'application',
        sealed: random(64),
      })
    await still()
    const held = await heldOf(bob, first)
    assert.equal(held.length, limits.announcedItemsMax)
    assert(held.every(({ entry }) => entry.kind === 'unopened' && entry.body.sealed.length === 0))
    assert.deepEqual(bob.shown, [])
    await world.pass(1_000)
    for (let i = 0; i < limits.announcedMax; i++) welcome(someId())
    await still()
    assert.deepEqual(await heldOf(bob, first), [])
  })

  test('D 3: are not entered where nobody is whom the user knows', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, carol] = await world.people('mallory', 'carol')
    hideFrom(world, carol)
    await world.group(mallory, 'party', carol)
    world.server.lie = undefined
    await world.pass(120_000)
    assert.deepEqual([await groupsOf(carol), await carol.client.announced()], [[], 1])
    assert(!world.server.log.some(({ device }) => same(device, carol.identity.device)))
    assert.deepEqual(carol.shown, [])
  })

  test('a Welcome that comes before its place is listed, with everything since, once the place is taken', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob)
    hideFrom(world, carol)
    await world.over(alice.client.addPeople('#team', ['carol'], { signal: never }))
    await alice.sayTo(group, 'welcome, carol')
    assert.deepEqual([await groupsOf(carol), await carol.client.announced()], [[], 1])
    assert.deepEqual(carol.heard, [])
    world.server.lie = undefined
    await world.pass(120_000)
    assert.equal(await carol.client.announced(), 0)
    const [team] = await groupsOf(carol)
    assert.deepEqual([team?.standing, team?.title], ['active', 'team'])
    assert.equal(carol.told('rejoined').length, 1)
    assert.deepEqual(carol.heard, ['welcome, carol'])
    await carol.sayTo(group, 'here I am')
    assert.equal(alice.heard.at(-1), 'here I am')
  })
})

async function heldOf({ store }: Device, conversation: ConversationId) {
  const found = []
  for await (const { row } of rowsOf(store, historyRow)) if (same(row.conversation, conversation)) found.push(row)
  return found
}

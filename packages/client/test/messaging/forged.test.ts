import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { newSeed, signingKey } from '@messageu/e2ee'
import { seal, view } from '@messageu/e2ee/conversation'
import { decode, encode } from '@messageu/protocol'
import { type ConversationId, DeliveredCommit, DeliveredWelcome, type Delivery, SendId } from '@messageu/protocol/v3'
import { meOf } from '../../src/messaging/reader.ts'
import { conversationRow, groupParts, groupRow, stateRow } from '../../src/messaging/rows.ts'
import { accountKeys, accountRow, getRow, listRow } from '../../src/rows.ts'
import { never, random } from '../world.ts'
import { recordFor } from './interception.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { flipped } from './spoiling.ts'
import { still } from './stillness.ts'

/** Three who know each other in a group, the third of whom is hostile. */
async function scene(world: MessagingWorld) {
  const [alice, bob, mallory] = await world.people('alice', 'bob', 'mallory')
  await world.acquaint(alice, bob, mallory)
  const team = await world.group(alice, 'team', bob, mallory)
  await alice.sayTo(team, 'one')
  await mallory.sayTo(team, 'two')
  assert.deepEqual(bob.heard, ['one', 'two'])
  return { alice, bob, mallory, team }
}

/** Puts something in the next place of the conversation, for one device. */
async function slip(
  world: MessagingWorld,
  to: Device,
  { conversation, kind, sealed }: Required<Pick<Delivery, 'conversation' | 'kind' | 'sealed'>>,
): Promise<void> {
  const ledger = world.server.ledgers.values().find((each) => same(each.conversation, conversation))
  assert(ledger !== undefined)
  ledger.sequence += 1
  const { generation, sequence } = ledger
  world.server.slip(to.identity.device, { conversation, generation, sequence, kind, sealed })
  await still()
}

/** Nothing of it was shown, nobody has come or gone, and after whatever was mended everybody hears everybody. */
async function unharmed(
  world: MessagingWorld,
  { alice, bob, team }: { alice: Device; bob: Device; team: ConversationId },
): Promise<void> {
  await world.pass(180_000)
  assert.deepEqual(bob.heard, ['one', 'two'])
  assert.deepEqual(await bob.members(team), ['alice', 'bob', 'mallory'])
  await alice.sayTo(team, 'still here')
  await world.pass(1_000)
  await bob.sayTo(team, 'so am I')
  assert.deepEqual([bob.heard.at(-1), alice.heard.at(-1)], ['still here', 'so am I'])
  assert.deepEqual([alice.ends, bob.ends], [[], []])
}

describe('S09, S16: forged MLS, as far as a program sees it', () => {
  test('a Welcome that was altered anywhere brings a device into nothing, and is told of', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const parts = [0.1, 0.5, 0.9, 1]
    for (const part of parts) {
      world.server.twist = (to, delivery) => {
        if (!same(to, bob.identity.device) || delivery.kind !== 'welcome' || delivery.sealed === undefined)
          return [delivery]
        const delivered = decode(DeliveredWelcome, delivery.sealed)
        const at = Math.ceil((delivered.welcome.length - 1) * part)
        return [
          { ...delivery, sealed: encode(DeliveredWelcome, { ...delivered, welcome: flipped(delivered.welcome, at) }) },
        ]
      }
      await world.group(alice, `group ${part}`, bob)
    }
    const told = bob.told('unwelcome')
    assert.equal(told.length, parts.length)
    assert.deepEqual([bob.kinds('joined'), bob.heard], [[], []])
    const known = await Array.fromAsync(bob.client.conversations())
    assert(!known.some(({ kind }) => kind === 'group'))
    world.server.twist = undefined
    await alice.say('bob', 'hello')
    assert.deepEqual(bob.heard, ['hello'])
  })

  test('a commit of somebody who is no member, in the name of one, is applied by nobody', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, mallory, team } = await scene(world)
    const eve = await world.person('eve')
    const kept = recordFor(world.server, mallory.identity.device)
    await world.group(eve, 'other', mallory)
    await world.over(eve.client.appoint('#other', ['eve', 'mallory'], { signal: never }))
    const foreign = kept.findLast(({ kind, sealed }) => kind === 'commit' && sealed !== undefined)?.sealed
    assert(foreign !== undefined)
    world.server.twist = undefined
    const { epoch } = world.server.ledger(team)?.shown ?? assert.fail()
    const commit = { ...decode(DeliveredCommit, foreign), epoch, sender: alice.identity.device }
    const { roster } = world.server.ledger(team) ?? assert.fail()
    const sealed = encode(DeliveredCommit, { ...commit, roster: [...roster] })
    await slip(world, bob, { conversation: team, kind: 'commit', sealed })
    assert.equal(bob.told('stuck').length, 1)
    await unharmed(world, { alice, bob, team })
  })

  test('a message that its author has signed with a key that is not on its list is shown to nobody', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, mallory, team } = await scene(world)
    const sealed = await sealedFalsely(mallory, team)
    await slip(world, bob, { conversation: team, kind: 'application', sealed })
    assert.deepEqual(bob.heard, ['one', 'two'])
    assert.equal(bob.kinds('unopened').length, 1)
    await unharmed(world, { alice, bob, team })
  })

  test('a proposal that commits could refer to is taken by nobody, neither as a commit nor as a message', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, team } = await scene(world)
    const { epoch, roster } = world.server.ledger(team) ?? assert.fail()
    const proposal = proposalToRemove(2, { team, generation: 1, epoch })
    const { device: sender } = alice.identity
    const id = decode(SendId, random(SendId.max))
    await slip(world, bob, { conversation: team, kind: 'application', sealed: proposal })
    assert.equal(bob.kinds('unopened').length, 1)
    const sealed = encode(DeliveredCommit, { epoch, sender, id, commit: proposal, roster: [...roster] })
    await slip(world, bob, { conversation: team, kind: 'commit', sealed })
    assert.equal(bob.told('stuck').length, 1)
    await unharmed(world, { alice, bob, team })
  })
})

/** What a member seals whose program signs with a key that it has made up. C 8 */
async function sealedFalsely({ store, client }: Device, conversation: ConversationId): Promise<Uint8Array> {
  const part = (name: keyof typeof groupParts) => Uint8Array.of(...conversation, groupParts[name])
  const head = await getRow(store, groupRow, part('group'))
  const ratchets = await getRow(store, stateRow, part('ratchets'))
  const earlier = await getRow(store, stateRow, part('earlier'))
  const account = await getRow(store, accountRow, accountKeys.account)
  const list = await getRow(store, listRow, client.account.identity.account)
  const row = await getRow(store, conversationRow, conversation)
  assert(head && ratchets && earlier && account && list && row)
  const state = { ...head, ratchets, earlier }
  assert.equal(view(state).conversation.length, conversation.length)
  const { self } = await meOf(account)
  const requestKey = await signingKey(newSeed(random))
  const place = { id: decode(SendId, random(SendId.max)), number: 1_000 }
  const { sealed } = await seal(
    state,
    { ...self, requestKey },
    { kind: 'text', body: { text: 'not by me' } },
    {
      ...place,
      clock: 1,
      list,
      seen: row.transcript.seen,
    },
  )
  return sealed
}

/** A bare proposal as RFC 9420 §6 writes it, by the member of the first leaf; its signature and tag are nobody's. */
function proposalToRemove(
  leaf: number,
  { team, generation, epoch }: { team: ConversationId; generation: number; epoch: number },
): Uint8Array {
  const u32 = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
  const vector = (bytes: Iterable<number>) => {
    const all = [...bytes]
    return all.length < 64 ? [all.length, ...all] : [0x40 | (all.length >> 8), all.length & 255, ...all]
  }
  const [mls10, publicMessage, member, proposal, remove] = [1, 1, 1, 2, 3]
  return Uint8Array.of(
    ...[0, mls10, 0, publicMessage],
    ...vector([...team, ...u32(generation)]),
    ...[...u32(0), ...u32(epoch)],
    ...[member, ...u32(0)],
    ...vector([]),
    ...[proposal, 0, remove, ...u32(leaf)],
    ...vector(random(64)),
    ...vector(random(32)),
  )
}

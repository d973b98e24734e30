import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { newSeed, signingKey, verifyList } from '@messageu/e2ee'
import { createConversation, stageCommit } from '@messageu/e2ee/conversation'
import { decode, encode } from '@messageu/protocol'
import { ConversationId, DeliveredCommit, DeliveredWelcome, type Delivery, Hash, SendId } from '@messageu/protocol/v3'
import { withOtherPast } from '../../../e2ee/test/conversation/forge.ts'
import { never, random } from '../world.ts'
import { makerOf } from './bad-packages.ts'
import { entriesOf } from './false-lists.ts'
import { recordFor, showTree } from './interception.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { sealedBy } from './sealing.ts'
import { flipped, spoil } from './spoiling.ts'
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
  {
    conversation,
    kind,
    sealed,
    ...place
  }: Required<Pick<Delivery, 'conversation' | 'kind' | 'sealed'>> & Partial<Pick<Delivery, 'generation'>>,
): Promise<void> {
  const ledger = world.server.ledgers.values().find((each) => same(each.conversation, conversation))
  assert(ledger !== undefined)
  ledger.sequence += 1
  const { generation, sequence } = ledger
  world.server.slip(to.identity.device, { conversation, generation, sequence, kind, sealed, ...place })
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

  test('a server that makes up Welcomes fills nobody’s screen: of twenty in a day the last says so, and the next day begins anew', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    const send = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++)
        world.server.slip(bob.identity.device, {
          conversation: decode(ConversationId, randomBytes(32)),
          generation: 1,
          sequence: 1,
          kind: 'welcome',
          sealed: randomBytes(300),
        })
      await still()
    }
    const day = 20
    await send(day + 30)
    const told = bob
      .told('unwelcome')
      .flatMap((each) => (each.kind === 'told' && each.told.kind === 'unwelcome' ? [each.told.body.reason] : []))
    assert.equal(told.length, day)
    assert.deepEqual(
      told.map((words) => words.endsWith('more of them are not told within a day')),
      told.map((_, i) => i === day - 1),
    )
    world.clock.jump(86_400_000)
    await send(1)
    assert.equal(bob.told('unwelcome').length, day + 1)
    await alice.say('bob', 'hello')
    assert.equal((await bob.client.requests({ signal: never })).length, 1)
  })

  test('D 6: a Welcome into a conversation of its sender’s own, under the id of one that its receiver is in, takes nobody there', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, mallory, team } = await scene(world)
    const shown = bob.shown.length
    const { welcome, tree } = await invitationToTwin(world, { by: mallory, to: bob, team })
    showTree(world.server, tree)
    await slip(world, bob, { conversation: team, kind: 'welcome', sealed: welcome })
    world.server.lie = undefined
    assert.deepEqual(bob.shown.slice(shown), [])
    await unharmed(world, { alice, bob, team })
  })

  test('D 4, D 6: nor does one into a generation of it that has ended', async () => {
    await using world = await MessagingWorld.start()
    const { alice, bob, mallory, team } = await scene(world)
    const { stop } = spoil(world.server, mallory.identity.device, ['commit', 'groupInfo'])
    world.clock.jump(8 * 86_400_000)
    mallory.client.sendTo(team, { text: 'poison' }, { signal: never }).catch(() => {})
    await world.pass(2_000)
    stop()
    await world.pass(600_000)
    const ended = 1
    assert((world.server.ledger(team)?.generation ?? ended) > ended)
    const { welcome, tree } = await invitationToTwin(world, { by: mallory, to: bob, team })
    showTree(world.server, tree)
    await slip(world, bob, { conversation: team, kind: 'welcome', sealed: welcome, generation: ended })
    world.server.lie = undefined
    assert.equal(bob.told('unwelcome').length, 1)
    await bob.sayTo(team, 'still here')
    await alice.sayTo(team, 'so am I')
    assert.deepEqual([alice.heard.at(-1), bob.heard.at(-1)], ['still here', 'so am I'])
  })

  test('S09, D 4: a member whom its receiver does not know, and who begins it anew as its own, brings a request', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, mallory] = await world.people('alice', 'bob', 'mallory')
    await world.acquaint(alice, bob)
    await world.acquaint(alice, mallory)
    const team = await world.group(alice, 'team', bob, mallory)
    await alice.sayTo(team, 'one')
    assert.equal((await bob.client.describe(team))?.standing, 'active')
    const generation = 2
    const { welcome, tree } = await invitationToTwin(world, { by: mallory, to: bob, team, generation })
    showTree(world.server, tree)
    await slip(world, bob, { conversation: team, kind: 'welcome', sealed: welcome, generation })
    assert.equal((await bob.client.describe(team))?.standing, 'request')
    assert.deepEqual([bob.told('request').length, bob.told('renewed').length], [1, 0])
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
    const { sealed } = await sealedBy(mallory, team, { requestKey: await signingKey(newSeed(random)) })
    await slip(world, bob, { conversation: team, kind: 'application', sealed })
    assert.deepEqual(bob.heard, ['one', 'two'])
    assert.equal(bob.kinds('unopened').length, 1)
    await unharmed(world, { alice, bob, team })
  })

  test('S06, C 8: a message whose author remembers another epoch before this one is shown, and is an alarm', async () => {
    await using world = await MessagingWorld.start()
    const { bob, mallory, team } = await scene(world)
    const { sealed } = await sealedBy(mallory, team, { text: 'three', bend: withOtherPast })
    await slip(world, bob, { conversation: team, kind: 'application', sealed })
    assert.deepEqual(bob.heard, ['one', 'two', 'three'])
    assert.equal(bob.told('fork').length, 1)
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

/** What brings somebody into a conversation that has the id and the generation of another one, and nobody else in it. */
async function invitationToTwin(
  world: MessagingWorld,
  { by, to, team, generation = 1 }: { by: Device; to: Device; team: ConversationId; generation?: number },
): Promise<{ welcome: Uint8Array; tree: Uint8Array }> {
  const { self, list, now } = await makerOf(world.server, by.client.account, world.clock.nowMs())
  const twin = await createConversation(self, list, {
    conversation: team,
    generation,
    purpose: { kind: 'group' },
    suite: 'x25519',
  })
  const keyPackages = world.server.shelf.claim([to.identity.device]).map(({ keyPackage }) => keyPackage)
  const lists = [await verifyList(entriesOf(world.server, to.identity.account))]
  const place = { id: decode(SendId, random(SendId.max)), number: 1_000 }
  const { tree, welcomes } = await stageCommit(twin, self, { kind: 'add', keyPackages }, { ...place, lists, now })
  const [made] = welcomes
  assert(made !== undefined)
  const treeHash = decode(Hash, random(Hash.max))
  const { welcome } = made
  return { welcome: encode(DeliveredWelcome, { epoch: 1, sender: by.identity.device, treeHash, welcome }), tree }
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

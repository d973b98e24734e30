import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Proposal, RatchetTree } from 'ts-mls'
import { encodeRatchetTree } from 'ts-mls/ratchetTree.js'
import { sameBytes } from '../../src/bytes.ts'
import { readKeyPackage } from '../../src/conversation/handshakes.ts'
import type { ArrivedWelcome, Joined, KnownLists, Staged } from '../../src/conversation/index.ts'
import { joinFromWelcome, packagesOf, view } from '../../src/conversation/index.ts'
import { readTree } from '../../src/conversation/tree.ts'
import { addInTheNameOf, forgeCommit } from './forge.ts'
import { packageOf, Room, type Somebody, type TestDevice, World } from './world.ts'

/** A group that has just added `joining`, who has not opened the Welcome yet. */
async function invited(label: string) {
  const world = new World(label)
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const room = await Room.of(world, alice.phone, [bob.phone])
  const { keyPackage } = await packageOf(carol.phone, 'x25519')
  const staged = await room.stage(alice.phone, { kind: 'add', keyPackages: [keyPackage] })
  await room.accept(alice.phone, staged)
  return { world, room, alice, bob, carol, staged, arrived: welcomeOf(room, alice.phone, staged) }
}

function welcomeOf(room: Room, by: TestDevice, { welcomes, tree }: Staged): ArrivedWelcome {
  const [only] = welcomes
  assert.ok(only)
  return { ...room.id, sender: by.self.device, welcome: only.welcome, tree }
}

function reasonOf(joined: Joined): string {
  return joined.kind === 'refused' ? joined.reason : joined.kind
}

describe('a Welcome', () => {
  test('lets its device in, tells who sent it, and uses up its key package', async () => {
    const { room, alice, carol, arrived } = await invited('welcome')
    const [ref] = await packagesOf(arrived.welcome)
    const joined = await room.join(carol.phone, arrived)
    assert.ok(joined.kind === 'joined')
    assert.deepEqual(joined.usedPackage, ref)
    assert.deepEqual(joined.by.device, alice.phone.self.device)
    assert.equal(room.agreed().members.length, 3)
    assert.equal(await room.read(carol.phone, await room.say(alice.phone, 'welcome')), 'welcome')
  })

  test('S03: that comes again is refused: it was seen, the conversation is held, the package is gone', async () => {
    const { room, carol, arrived } = await invited('replay')
    assert.equal((await room.join(carol.phone, arrived)).kind, 'joined')
    assert.equal(reasonOf(await room.join(carol.phone, arrived)), 'seen')
    carol.phone.welcomes.clear()
    assert.equal(reasonOf(await room.join(carol.phone, arrived)), 'held')
    room.seats.delete(carol.phone)
    assert.equal(reasonOf(await room.join(carol.phone, arrived)), 'no-package')
  })

  test('for the last resort is taken again after the device was removed, for its package stays', async () => {
    const { room, alice, carol, arrived } = await invited('last resort')
    await room.join(carol.phone, arrived)
    const { keyPackage } = await packageOf(carol.phone, 'x25519', true)
    for (let round = 0; round < 2; round++) {
      await room.commit(alice.phone, { kind: 'remove', devices: [carol.phone.self.device] })
      const staged = await room.stage(alice.phone, { kind: 'add', keyPackages: [keyPackage] })
      await room.accept(alice.phone, staged)
      assert.equal((await room.welcome(carol.phone, alice.phone, staged)).kind, 'joined')
      assert.equal(room.agreed().members.length, 3)
    }
  })

  test('whose lists the device does not have asks for exactly these first', async () => {
    const { world, room, alice, bob, carol, arrived } = await invited('needs')
    const memory = { packages: carol.phone.packages, isHeld: false, wasSeen: () => false }
    const joined = await joinFromWelcome(carol.phone.self, arrived, { lists: () => undefined, memory })
    assert.ok(joined.kind === 'needs')
    assert.equal(joined.lists.length, 3)
    const known = await joinFromWelcome(carol.phone.self, arrived, { lists: world.lists, memory })
    assert.equal(known.kind, 'joined')
    assert.ok(room && alice && bob)
  })

  test('into a conversation with a leaf whose device has left its list since is judged by the list that had it', async () => {
    const { world, room, alice, bob, carol, arrived } = await invited('former')
    await room.join(carol.phone, arrived)
    const [laptop, tablet] = [await world.device(bob), await world.device(bob)]
    await room.add(alice.phone, [laptop, tablet])
    await world.delist(laptop)
    await world.delist(tablet)
    await room.commit(carol.phone, { kind: 'remove', devices: [tablet.self.device] })
    const dave = await world.person('dave')
    const { keyPackage } = await packageOf(dave.phone, 'x25519')
    const staged = await room.stage(alice.phone, { kind: 'add', keyPackages: [keyPackage] })
    await room.accept(alice.phone, staged)
    const asked: number[] = []
    const lists: KnownLists = (ref) => {
      if (sameBytes(ref.account, bob.account.id)) asked.push(ref.version)
      return world.lists(ref)
    }
    const memory = { packages: dave.phone.packages, isHeld: false, wasSeen: () => false }
    const joined = await joinFromWelcome(dave.phone.self, welcomeOf(room, alice.phone, staged), { lists, memory })
    assert.ok(joined.kind === 'joined')
    assert.deepEqual([...new Set(asked)].toSorted(), [3, 5], 'the newest that was used, and the one of the laptop')
    assert.deepEqual(view(joined.state), room.view(alice.phone))
  })

  test('S09: that names another conversation, or comes from somebody else than the server says, is refused', async () => {
    const { world, room, bob, carol, arrived } = await invited('misdirected')
    const lies: ArrivedWelcome[] = [
      { ...arrived, conversation: world.conversationId() },
      { ...arrived, generation: 2 },
      { ...arrived, sender: bob.phone.self.device },
    ]
    for (const lie of lies) assert.equal(reasonOf(await room.join(carol.phone, lie)), 'misdirected')
    assert.equal((await room.join(carol.phone, arrived)).kind, 'joined')
  })

  test('S09: into a conversation in which somebody made leaves with the names of others is refused', async () => {
    const world = new World('self-made')
    const [mallory, bob, carol] = [
      await world.person('mallory'),
      await world.person('bob'),
      await world.person('carol'),
    ]
    const second = await world.device(mallory)
    const room = await Room.of(world, mallory.phone, [])
    const add = async (): Promise<Proposal> => {
      const { keyPackage } = await packageOf(carol.phone, 'x25519')
      return { proposalType: 'add', add: { keyPackage: readKeyPackage(keyPackage) } }
    }
    const made = async (impostor: Proposal, touching: readonly Somebody[]) => {
      const forged = await forgeCommit(room, mallory.phone, { proposals: [impostor, await add()], touching })
      assert.ok(forged.welcome)
      const arrived = { ...room.id, sender: mallory.phone.self.device, welcome: forged.welcome, tree: forged.tree }
      return reasonOf(await room.join(carol.phone, arrived))
    }
    assert.equal(await made(await addInTheNameOf(bob, second), [bob, carol]), 'list')
    assert.equal(await made(await addInTheNameOf(bob, bob.phone), [carol]), 'roster')
    const twin = { ...mallory.phone, self: { ...mallory.phone.self, signatureSeed: second.self.signatureSeed } }
    assert.equal(await made(await addInTheNameOf(mallory, twin), [carol]), 'keys')
  })

  test('with a tree that is not the one it was made for is refused, whatever is wrong with it', async () => {
    const { room, carol, staged, arrived } = await invited('trees')
    const tree = readTree(staged.tree)
    const cases: Record<string, [RatchetTree, string]> = {
      'an unmerged leaf far outside': [withUnmerged(tree, [1000]), 'malformed'],
      'an unmerged leaf that is blank': [withUnmerged(tree, [3]), 'malformed'],
      'unmerged leaves out of order': [withUnmerged(tree, [2, 1]), 'malformed'],
      'an unmerged leaf twice': [withUnmerged(tree, [2, 2]), 'malformed'],
      'other unmerged leaves': [withUnmerged(tree, [0, 1, 2]), 'unverifiable'],
      'a leaf in the place of a parent': [tree.with(1, tree[0]), 'malformed'],
      'a parent in the place of a leaf': [tree.with(2, withUnmerged(tree, [])[1]), 'malformed'],
      'a leaf less': [tree.with(2, undefined), 'roster'],
      'a leaf twice': [tree.with(2, tree[0]), 'keys'],
      'nothing at all': [[], 'malformed'],
    }
    for (const [name, [wrong, reason]] of Object.entries(cases))
      assert.equal(reasonOf(await room.join(carol.phone, { ...arrived, tree: encodeRatchetTree(wrong) })), reason, name)
    const longer = Uint8Array.of(...arrived.tree, 0)
    assert.equal(reasonOf(await room.join(carol.phone, { ...arrived, tree: longer })), 'malformed')
    assert.equal((await room.join(carol.phone, arrived)).kind, 'joined')
  })

  test('of which a byte was changed is refused', async () => {
    const { room, carol, arrived } = await invited('altered')
    for (let at = 0; at < arrived.welcome.length; at += 13) {
      const welcome = arrived.welcome.with(at, (arrived.welcome[at] ?? 0) ^ 0x20)
      assert.equal((await room.join(carol.phone, { ...arrived, welcome })).kind, 'refused')
    }
    assert.equal((await room.join(carol.phone, arrived)).kind, 'joined')
  })

  test('lets fifty devices in with one commit', async () => {
    const world = new World('fifty')
    const alice = await world.person('alice')
    const room = await Room.of(world, alice.phone, [])
    const joining: TestDevice[] = []
    for (let i = 0; i < 50; i++) joining.push((await world.person(`somebody ${String(i).padStart(2, '0')}`)).phone)
    const made = await Promise.all(joining.map((device) => packageOf(device, 'x25519')))
    const packages = made.map(({ keyPackage }) => keyPackage)
    const staged = await room.stage(alice.phone, { kind: 'add', keyPackages: packages })
    await room.accept(alice.phone, staged)
    const last = joining.at(-1)
    assert.ok(last)
    assert.equal((await room.welcome(last, alice.phone, staged)).kind, 'joined')
    assert.deepEqual(room.view(last).authenticator, room.view(alice.phone).authenticator)
    const one = await world.person('one more')
    const tooMany = [...packages, (await packageOf(one.phone, 'x25519')).keyPackage]
    const fresh = await Room.of(world, alice.phone, [])
    await assert.rejects(fresh.stage(alice.phone, { kind: 'add', keyPackages: tooMany }), { reason: 'malformed' })
  })
})

function withUnmerged(tree: RatchetTree, unmergedLeaves: number[]): RatchetTree {
  const [node] = tree.slice(1, 2)
  const parent =
    node?.nodeType === 'parent'
      ? node.parent
      : { hpkePublicKey: new Uint8Array(32).fill(7), parentHash: new Uint8Array() }
  return tree.with(1, { nodeType: 'parent', parent: { ...parent, unmergedLeaves } })
}

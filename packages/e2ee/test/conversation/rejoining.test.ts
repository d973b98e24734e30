import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '@messageu/protocol/v3'
import type { ProposalOrRef } from 'ts-mls'
import { sameBytes } from '../../src/bytes.ts'
import {
  applyCommit,
  type ConversationReason,
  confirmRejoin,
  createConversation,
  isContinuation,
  recreate,
  type Staged,
  view,
} from '../../src/conversation/index.ts'
import { inOrder } from '../../src/conversation/rules.ts'
import { type Forged, forgeRejoin, tampered, tamperedRejoin } from './forge.ts'
import { newest, Room, type TestDevice, World } from './world.ts'

async function group(label: string) {
  const world = new World(label)
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const laptop = await world.device(bob)
  const room = await Room.of(world, alice.phone, [bob.phone, laptop, carol.phone])
  return { world, room, alice, bob, carol, laptop }
}

describe('a device rejoins', () => {
  test('in the place of its own old leaf, and reads what comes', async () => {
    const { room, alice, laptop } = await group('own leaf')
    await room.commit(alice.phone, { kind: 'update' })
    const before = room.agreed().members
    await room.rejoin(laptop)
    assert.deepEqual(room.agreed().members, before)
    assert.equal(await room.read(laptop, await room.say(alice.phone, 'you are back')), 'you are back')
  })

  test('as a new device on the list, without taking a place', async () => {
    const { world, room, carol } = await group('new device')
    const tablet = await world.device(carol)
    await room.rejoin(tablet)
    assert.equal(room.agreed().members.length, 5)
  })

  test('after recovery with the words, in the place of a device that the list has no more', async () => {
    const { world, room, alice, carol } = await group('recovered')
    const recovered = await world.recover(carol)
    const staged = await room.stageRejoin(recovered, { replaces: carol.phone })
    assert.ok(staged.kind === 'staged')
    assert.equal(staged.members.length, 4, 'whom it will be with is shown first')
    room.seats.delete(carol.phone)
    await room.rejoin(recovered, { replaces: carol.phone })
    assert.equal(room.agreed().members.length, 4)
    assert.equal(await room.read(recovered, await room.say(alice.phone, 'hello again')), 'hello again')
  })

  test('not in the place of the only one who is there: nobody could follow', async () => {
    const world = new World('alone')
    const carol = await world.person('carol')
    const tablet = await world.device(carol)
    const room = await Room.of(world, carol.phone, [tablet])
    await room.commit(carol.phone, { kind: 'remove', devices: [tablet.self.device] })
    const recovered = await world.recover(carol)
    const staged = await room.stageRejoin(recovered, { replaces: carol.phone })
    assert.equal(staged.kind === 'refused' && staged.reason, 'forbidden')
  })

  test('not in the place of a sibling that is listed, nor of somebody else', async () => {
    const { world, room, alice, carol } = await group('not theirs')
    const tablet = await world.device(carol)
    const sibling = await room.stageRejoin(tablet, { replaces: carol.phone })
    const other = await room.stageRejoin(tablet, { replaces: alice.phone })
    for (const refused of [sibling, other]) {
      assert.ok(refused.kind === 'refused')
      assert.equal(refused.reason, 'forbidden')
    }
  })

  test('not if its account has no leaf, and not if it is off its list', async () => {
    const { world, room, laptop } = await group('nobody')
    const mallory = await world.person('mallory')
    const outsider = await room.stageRejoin(mallory.phone)
    assert.ok(outsider.kind === 'refused' && outsider.reason === 'forbidden')
    await world.delist(laptop)
    const delisted = await room.stageRejoin(laptop)
    assert.ok(delisted.kind === 'refused' && delisted.reason === 'list')
  })

  test('S07: not by a GroupInfo older than an epoch that it knows', async () => {
    const { room, alice, laptop } = await group('older')
    const shown = room.shown
    await room.commit(alice.phone, { kind: 'update' })
    const { epoch } = room.view(laptop)
    room.shown = shown
    const refused = await room.stageRejoin(laptop, { newestEpoch: epoch })
    assert.ok(refused.kind === 'refused' && refused.reason === 'older')
  })

  test('S09: not by a GroupInfo or a tree that was changed', async () => {
    const { room, laptop } = await group('altered')
    const { groupInfo, tree } = room.shown
    for (let at = 0; at < groupInfo.length; at += 29) {
      room.shown = { tree, groupInfo: groupInfo.with(at, (groupInfo[at] ?? 0) ^ 0x11) }
      assert.notEqual((await room.stageRejoin(laptop)).kind, 'staged', `byte ${at} of the GroupInfo`)
    }
    for (let at = 0; at < tree.length; at += 61) {
      room.shown = { groupInfo, tree: tree.with(at, (tree[at] ?? 0) ^ 0x11) }
      assert.notEqual((await room.stageRejoin(laptop)).kind, 'staged', `byte ${at} of the tree`)
    }
  })

  test('only once its commit has its place', async () => {
    const { room, alice, laptop } = await group('race')
    const staged = await room.stageRejoin(laptop)
    assert.ok(staged.kind === 'staged')
    const winner = await room.commit(alice.phone, { kind: 'update' })
    const arrived = room.arrived(alice.phone, winner)
    assert.equal(await confirmRejoin(laptop.self, arrived, staged.pending), undefined)
    await room.rejoin(laptop)
    room.agreed()
  })
})

describe('S09: an external commit', () => {
  test('that takes out a leaf which is not its own to replace is refused by all', async () => {
    const { room, laptop } = await group('external remove')
    for (const removed of [[0], [1], [1000], [2, 0], [2, 2]]) {
      const forged = await tamperedRejoin(room, laptop, (commit) => ({
        ...commit,
        proposals: [...removed.map(removing), ...commit.proposals.filter(isExternalInit)],
      }))
      await refusedByOthers(room, laptop, forged, 'forbidden')
    }
    await room.rejoin(laptop)
    room.agreed()
  })

  test('with two external_init, or with none, or that also adds, is refused by all', async () => {
    const { room, laptop } = await group('external more')
    const twice = await tamperedRejoin(room, laptop, (commit) => ({
      ...commit,
      proposals: [...commit.proposals, ...commit.proposals.filter(isExternalInit)],
    }))
    const none = await tamperedRejoin(room, laptop, (commit) => ({
      ...commit,
      proposals: commit.proposals.filter((each) => !isExternalInit(each)),
    }))
    const adds = await tamperedRejoin(room, laptop, (commit, add) => ({
      ...commit,
      proposals: [...commit.proposals, add],
    }))
    for (const forged of [twice, none, adds]) await refusedByOthers(room, laptop, forged, 'forbidden')
  })

  test('of an account that has no leaf here, or of a device off its list, is refused by all', async () => {
    const { world, room, laptop } = await group('external stranger')
    const mallory = await world.person('mallory')
    await refusedByOthers(room, mallory.phone, await forgeRejoin(room, mallory.phone), 'forbidden')
    await world.delist(laptop)
    await refusedByOthers(room, laptop, await forgeRejoin(room, laptop), 'list')
  })
})

describe('C13: a commit that was accepted and that nobody can follow', () => {
  test('leaves all at the same epoch with the same reason, and the conversation goes on in a next generation', async () => {
    const { world, room, alice, bob, carol, laptop } = await group('poisoned')
    await room.commit(alice.phone, { kind: 'owners', owners: [alice.account.id, carol.account.id] })
    const poisoned = await tampered(room, carol.phone, (commit) => {
      const [first, ...rest] = commit.path?.nodes ?? []
      assert.ok(commit.path && first)
      const encryptedPathSecret = first.encryptedPathSecret.map((each) => ({ ...each, ciphertext: new Uint8Array(48) }))
      return { commit: { ...commit, path: { ...commit.path, nodes: [{ ...first, encryptedPathSecret }, ...rest] } } }
    })
    const reasons = new Set<string>()
    for (const device of [alice.phone, bob.phone, laptop]) {
      const applied = await deliver(room, device, carol.phone, poisoned)
      assert.ok(applied.kind === 'stuck')
      assert.deepEqual(applied.by?.account, carol.account.id)
      reasons.add(applied.reason)
    }
    assert.deepEqual([...reasons], ['unverifiable'])

    const before = room.state(bob.phone)
    const made = await recreate(before, bob.phone.self, newest(bob), { without: carol.account.id })
    assert.equal(made.accounts.length, 2)
    const next = new Room(world, { id: { ...room.id, generation: 2 } })
    next.seats.set(bob.phone, made.state)
    await next.add(bob.phone, [laptop, alice.phone])
    for (const device of [bob.phone, laptop, alice.phone])
      assert.ok(isContinuation(room.state(device), next.state(device)))
    assert.deepEqual(next.agreed().owners, [alice.account.id])
    assert.equal(next.agreed().generation, 2)
    assert.equal(await next.read(alice.phone, await next.say(bob.phone, 'we go on')), 'we go on')
    await assert.rejects(next.add(bob.phone, [carol.phone]), { reason: 'forbidden' })
  })

  test('makes nobody an owner who was none, not even while the owners are still to come', async () => {
    const { world, room, bob, carol, laptop } = await group('usurped')
    const mallory = await world.person('mallory')
    const made = await recreate(room.state(bob.phone), bob.phone.self, newest(bob))
    const next = new Room(world, { id: { ...room.id, generation: 2 } })
    next.seats.set(bob.phone, made.state)
    await next.add(bob.phone, [laptop, carol.phone])
    assert.deepEqual(next.agreed().owners, [])
    await assert.rejects(next.add(bob.phone, [mallory.phone]), { reason: 'forbidden' })
    const seizing = { kind: 'owners', owners: [bob.account.id] } as const
    await assert.rejects(next.stage(bob.phone, seizing), { reason: 'forbidden' })
  })

  test('is no matter for a device that rejoins once others have gone on', async () => {
    const { room, alice, bob, laptop } = await group('missed')
    room.seats.delete(laptop)
    await room.commit(alice.phone, { kind: 'update' })
    await room.commit(bob.phone, { kind: 'update' })
    await room.rejoin(laptop)
    assert.equal(room.agreed().members.length, 4)
    assert.equal(await room.read(laptop, await room.say(bob.phone, 'healed')), 'healed')
  })

  test('with an epoch that is stale or ahead is never applied', async () => {
    const { room, alice, bob } = await group('epochs')
    const stale = await room.stage(alice.phone, { kind: 'update' })
    await room.commit(bob.phone, { kind: 'update' })
    assert.equal((await deliver(room, bob.phone, alice.phone, stale)).kind, 'fork')
    const [behind, state] = [room.state(alice.phone), room.state(bob.phone)]
    await room.commit(bob.phone, { kind: 'update' })
    const ahead = await room.stage(bob.phone, { kind: 'update' })
    room.seats.set(bob.phone, state)
    room.seats.set(alice.phone, behind)
    assert.equal((await deliver(room, alice.phone, bob.phone, ahead)).kind, 'early')
  })

  test('and is larger than any may be is refused unread', async () => {
    const { room, alice, bob } = await group('large')
    const arrived = room.arrived(alice.phone, await room.stage(alice.phone, { kind: 'update' }))
    const large = { ...arrived, commit: new Uint8Array(limits.handshakeBytesMax + 1) }
    const applied = await applyCommit(room.state(bob.phone), large, { lists: room.world.lists })
    assert.ok(applied.kind === 'stuck' && applied.reason === 'malformed')
  })
})

describe('a next generation', () => {
  test('goes on only with the same people minus one at most, of the same kind, and with no new owner', async () => {
    const { world, room, alice, bob, carol, laptop } = await group('continuation')
    const [before, list] = [room.state(alice.phone), newest(alice)]
    const { state: same } = await recreate(before, alice.phone.self, list)
    const { state: minusOne } = await recreate(before, alice.phone.self, list, { without: carol.account.id })
    assert.ok(isContinuation(before, same))
    assert.ok(isContinuation(before, minusOne))
    const { state: minusTwo } = await recreate(minusOne, alice.phone.self, list, { without: bob.account.id })
    assert.equal(isContinuation(before, minusTwo), false, 'two people fewer')
    const { state: later } = await recreate(before, alice.phone.self, list, { generation: 3 })
    assert.ok(isContinuation(before, later), 'after one that nobody was brought into')
    assert.equal(isContinuation(later, before), false, 'an earlier one')
    const other = await Room.of(world, alice.phone, [bob.phone, laptop, carol.phone])
    assert.equal(isContinuation(before, other.state(alice.phone)), false, 'another conversation')
    const options = { conversation: room.id.conversation, suite: 'x25519' } as const
    const direct = { ...options, purpose: { kind: 'direct', with: bob.account.id } } as const
    assert.equal(isContinuation(before, await createConversation(alice.phone.self, list, direct)), false)
  })

  test('with other owners is another conversation', async () => {
    const { world, room, alice, bob, laptop } = await group('owners')
    const before = room.state(bob.phone)
    const { state } = await recreate(before, bob.phone.self, newest(bob))
    const next = new Room(world, { id: { ...room.id, generation: 2 } })
    next.seats.set(bob.phone, state)
    await next.add(bob.phone, [laptop, alice.phone])
    for (const owners of [[alice, bob], [bob]]) {
      assert.ok(isContinuation(before, state))
      await next.commit(alice.phone, { kind: 'owners', owners: owners.map(({ account }) => account.id) })
      assert.equal(isContinuation(before, next.state(laptop)), false)
    }
  })

  test('that has lost an owner who is still there is another conversation', async () => {
    const { world, room, alice, bob, laptop, carol } = await group('demoted')
    await room.commit(alice.phone, { kind: 'owners', owners: [alice.account.id, carol.account.id] })
    const before = room.state(bob.phone)
    const { state } = await recreate(before, bob.phone.self, newest(bob))
    const next = new Room(world, { id: { ...room.id, generation: 2 } })
    next.seats.set(bob.phone, state)
    await next.add(bob.phone, [laptop, alice.phone, carol.phone])
    assert.ok(isContinuation(before, next.state(bob.phone)))
    await next.commit(alice.phone, { kind: 'owners', owners: [alice.account.id] })
    assert.equal(isContinuation(before, next.state(bob.phone)), false)
  })

  test('lets back in whoever is awaited, once: whom an owner takes out afterwards nobody else brings in, nor does the next', async () => {
    const { world, room, alice, bob, laptop, carol } = await group('taken out')
    const { state } = await recreate(room.state(bob.phone), bob.phone.self, newest(bob))
    const next = new Room(world, { id: { ...room.id, generation: 2 } })
    next.seats.set(bob.phone, state)
    await next.add(bob.phone, [alice.phone, carol.phone])
    const takingOut = { kind: 'remove', devices: [carol.phone.self.device] } as const
    await next.commit(alice.phone, takingOut)
    await assert.rejects(next.add(bob.phone, [carol.phone]), { reason: 'forbidden' })
    await next.add(bob.phone, [laptop])
    await assert.rejects(
      next.add(laptop, [carol.phone]),
      { reason: 'forbidden' },
      'whoever has come since knows it too',
    )
    const after = await recreate(next.state(bob.phone), bob.phone.self, newest(bob))
    assert.deepEqual(after.accounts, inOrder([alice.account.id, bob.account.id]))
    await next.add(alice.phone, [carol.phone])
    const { lists, epoch } = next.agreed()
    assert.equal(lists.find(({ account }) => sameBytes(account, carol.account.id))?.since, epoch)
    await next.commit(alice.phone, takingOut)
    await assert.rejects(next.add(bob.phone, [carol.phone]), { reason: 'forbidden' })
  })

  test('can have another suite', async () => {
    const { room, alice } = await group('suite')
    const { state } = await recreate(room.state(alice.phone), alice.phone.self, newest(alice), { suite: 'x-wing' })
    assert.equal(view(state).suite, 'x-wing')
    assert.ok(isContinuation(room.state(alice.phone), state))
  })

  test('leaves out nobody of a pair', async () => {
    const world = new World('pair')
    const [alice, bob] = [await world.person('alice'), await world.person('bob')]
    const room = await Room.of(world, alice.phone, [bob.phone], { purpose: { kind: 'direct', with: bob.account.id } })
    const without = { without: bob.account.id }
    await assert.rejects(recreate(room.state(alice.phone), alice.phone.self, newest(alice), without), {
      reason: 'forbidden',
    })
  })
})

function deliver(room: Room, to: TestDevice, by: TestDevice, made: Forged | Staged) {
  return applyCommit(room.state(to), room.arrived(by, made), { lists: room.world.lists })
}

async function refusedByOthers(room: Room, by: TestDevice, forged: Forged, reason: ConversationReason) {
  for (const device of room.seats.keys()) {
    if (device === by) continue
    const applied = await deliver(room, device, by, forged)
    assert.ok(applied.kind === 'stuck', applied.kind)
    assert.equal(applied.reason, reason, applied.explanation)
  }
}

const isExternalInit = (each: ProposalOrRef) =>
  each.proposalOrRefType === 'proposal' && each.proposal.proposalType === 'external_init'

const removing = (removed: number): ProposalOrRef => ({
  proposalOrRefType: 'proposal',
  proposal: { proposalType: 'remove', remove: { removed } },
})

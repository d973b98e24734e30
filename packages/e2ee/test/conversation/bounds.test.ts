import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { type AccountId, DeviceId, PublicKey } from '@messageu/protocol/v3'
import { decodeMlsMessage, encodeMlsMessage, type Proposal } from 'ts-mls'
import { census } from '../../src/conversation/census.ts'
import { situationOf } from '../../src/conversation/epochs.ts'
import { readKeyPackage } from '../../src/conversation/handshakes.ts'
import { judge, type Situation } from '../../src/conversation/judge.ts'
import { claimOf } from '../../src/conversation/leaves.ts'
import { refOf } from '../../src/conversation/lists.ts'
import type { Member } from '../../src/conversation/members.ts'
import { readGroup } from '../../src/conversation/state.ts'
import { devicesMax } from '../../src/conversation/suites.ts'
import { readTree } from '../../src/conversation/tree.ts'
import { toHex } from '../hex.ts'
import { addInTheNameOf, forgeCommit, tampered, tamperedRejoin } from './forge.ts'
import { refusedByAll } from './refusal.ts'
import { newest, packageOf, Room, type TestDevice, World } from './world.ts'

/** A group of three accounts: alice owns it, bob has two devices. */
async function group(label: string) {
  const world = new World(label)
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const laptop = await world.device(bob)
  const room = await Room.of(world, alice.phone, [bob.phone, laptop, carol.phone])
  return { world, room, alice, bob, carol, laptop }
}

/** Somebody who is said to be here. */
const member = (leaf: number, account: AccountId): Member => {
  const bytes = new Uint8Array(32)
  new DataView(bytes.buffer).setUint32(0, leaf + 1)
  const key = decode(PublicKey, bytes)
  return {
    leaf,
    account,
    device: decode(DeviceId, bytes.subarray(0, DeviceId.max)),
    signatureKey: key,
    requestKey: key,
  }
}

async function addOf(device: TestDevice): Promise<Proposal> {
  const { keyPackage } = await packageOf(device, 'x25519')
  return { proposalType: 'add', add: { keyPackage: readKeyPackage(keyPackage) } }
}

describe('C12: a conversation', () => {
  test('has no more devices than its suite allows', async () => {
    const { world, room, alice, carol } = await group('full')
    const tablet = await world.device(carol)
    const add = await addInTheNameOf(carol, tablet)
    assert.ok(add.proposalType === 'add')
    const change = { kind: 'add', joining: [claimOf(add.add.keyPackage.leafNode)] } as const
    const situation = situationOf(room.state(alice.phone), readGroup(room.state(alice.phone)))
    const note = { lists: [refOf(newest(carol))], departures: [] }
    const joining = (suite: Situation['suite'], count: number) => {
      const members = Array.from({ length: count }, (_, leaf) => member(leaf, carol.account.id))
      return judge({ ...situation, suite, members }, { change, by: carol.account.id, note }, world.lists)
    }
    for (const suite of ['x25519', 'x-wing'] as const) {
      assert.equal((await joining(suite, devicesMax[suite] - 1)).staying.length, devicesMax[suite] - 1)
      await assert.rejects(joining(suite, devicesMax[suite]), { reason: 'limit' })
    }
  })

  test('with more devices than that lets nobody in', async () => {
    const { world, room, carol } = await group('overfull')
    const add = await addInTheNameOf(carol, carol.phone)
    assert.ok(add.proposalType === 'add')
    const leaf = { leaf: 0, ...claimOf(add.add.keyPackage.leafNode) }
    const leaves = new Array<typeof leaf>(devicesMax['x-wing'] + 1).fill(leaf)
    const { rules, standings } = situationOf(room.state(carol.phone), readGroup(room.state(carol.phone)))
    assert.throws(() => census(leaves, { standings, rules, suite: 'x-wing' }, world.lists), { reason: 'limit' })
  })

  test('is not joined by more than fifty devices in one commit', async () => {
    const { world, room, alice, carol } = await group('fifty-one')
    const proposal = await addInTheNameOf(carol, await world.device(carol))
    const proposals = new Array<typeof proposal>(51).fill(proposal)
    const forged = await tampered(room, alice.phone, (commit) => ({
      commit: {
        ...commit,
        proposals: proposals.map((each) => ({ proposalOrRefType: 'proposal', proposal: each })),
      },
    }))
    await refusedByAll(room, alice.phone, forged, 'limit')
  })
})

describe('S16: a commit', () => {
  test('of another conversation, or with a note about another one, is refused by all', async () => {
    const { world, room, alice, bob, laptop, carol } = await group('elsewhere')
    const other = await Room.of(world, alice.phone, [bob.phone, laptop, carol.phone])
    await refusedByAll(room, alice.phone, await forgeCommit(other, alice.phone, {}), 'misdirected')
    const lying = await forgeCommit(room, alice.phone, { lie: (note) => ({ ...note, group: other.id }) })
    await refusedByAll(room, alice.phone, lying, 'misdirected')
  })

  test('that brings in a leaf which cannot do what a conversation needs is refused by all', async () => {
    const { world, room, alice, carol, laptop } = await group('unable')
    const add = await addInTheNameOf(carol, await world.device(carol))
    assert.ok(add.proposalType === 'add')
    const { keyPackage } = add.add
    const { leafNode } = keyPackage
    const unable = { ...leafNode, capabilities: { ...leafNode.capabilities, extensions: [] } }
    const proposal = { proposalType: 'add', add: { keyPackage: { ...keyPackage, leafNode: unable } } } as const
    const forged = await tampered(room, alice.phone, (commit) => ({
      commit: { ...commit, proposals: [{ proposalOrRefType: 'proposal', proposal }] },
    }))
    await refusedByAll(room, alice.phone, forged, 'malformed')
    const rejoining = await tamperedRejoin(room, laptop, (commit) => {
      assert.ok(commit.path)
      const { capabilities } = commit.path.leafNode
      const leaf = { ...commit.path.leafNode, capabilities: { ...capabilities, extensions: [] } }
      return { ...commit, path: { ...commit.path, leafNode: leaf } }
    })
    await refusedByAll(room, laptop, rejoining, 'malformed')
  })
})

test('S09: a GroupInfo whose signer lies outside of the tree is refused', async () => {
  const { room, laptop } = await group('signer')
  const [message] = decodeMlsMessage(room.shown.groupInfo, 0) ?? []
  assert.ok(message?.wireformat === 'mls_group_info')
  const groupInfo = encodeMlsMessage({ ...message, groupInfo: { ...message.groupInfo, signer: 1000 } })
  assert.ok(readTree(room.shown.tree).length < 1000)
  room.shown = { ...room.shown, groupInfo }
  const refused = await room.stageRejoin(laptop)
  assert.equal(refused.kind === 'refused' && refused.reason, 'malformed')
})

test('S09: nobody is let into a conversation of two in which there is a third', async () => {
  const world = new World('three of two')
  const [mallory, bob, carol] = [await world.person('mallory'), await world.person('bob'), await world.person('carol')]
  const room = await Room.of(world, mallory.phone, [], { purpose: { kind: 'direct', with: bob.account.id } })
  const proposals = [await addInTheNameOf(carol, carol.phone), await addOf(bob.phone)]
  const forged = await forgeCommit(room, mallory.phone, { proposals, touching: [bob, carol] })
  assert.ok(forged.welcome)
  const arrived = { ...room.id, sender: mallory.phone.self.device, welcome: forged.welcome, tree: forged.tree }
  const joined = await room.join(bob.phone, arrived)
  assert.equal(joined.kind === 'refused' && joined.reason, 'forbidden')
})

test('I4: the key that signs in MLS does not stand in the state of a conversation', async () => {
  const { room, alice } = await group('no key')
  await room.commit(alice.phone, { kind: 'update' })
  const seed = toHex(alice.phone.self.signatureSeed.reveal())
  const { group: bytes, ratchets, earlier } = room.state(alice.phone)
  for (const part of [bytes, ratchets, earlier]) assert.equal(toHex(part).includes(seed), false)
})

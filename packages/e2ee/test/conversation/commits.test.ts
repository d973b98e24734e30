import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { SendId } from '@messageu/protocol/v3'
import type { Proposal, ProposalOrRef } from 'ts-mls'
import { engineConfig, engineState } from '../../src/conversation/epochs.ts'
import { rulesExtension } from '../../src/conversation/extensions.ts'
import { readKeyPackage } from '../../src/conversation/handshakes.ts'
import { applyCommit } from '../../src/conversation/index.ts'
import { hashOf } from '../../src/conversation/shared.ts'
import { readGroup } from '../../src/conversation/state.ts'
import { addInTheNameOf, forgeCommit, tampered } from './forge.ts'
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

async function addOf(device: TestDevice): Promise<Proposal> {
  const { keyPackage } = await packageOf(device, 'x25519')
  return { proposalType: 'add', add: { keyPackage: readKeyPackage(keyPackage) } }
}

function leafKeysOf(room: Room, device: TestDevice): readonly Uint8Array[] {
  const { ratchetTree } = engineState(
    readGroup(room.state(device)),
    engineConfig(() => true),
    undefined,
  )
  return ratchetTree.flatMap((node) => (node?.nodeType === 'leaf' ? [node.leaf.hpkePublicKey] : []))
}

const byValue = (proposal: Proposal): ProposalOrRef => ({ proposalOrRefType: 'proposal', proposal })
const removeOf = (leaf: number): Proposal => ({ proposalType: 'remove', remove: { removed: leaf } })

describe('a commit', () => {
  test('of every kind leads all members to the same epoch, roster and rules', async () => {
    const { world, room, alice, bob, carol, laptop } = await group('kinds')
    const epochs = [room.agreed().epoch]
    await room.commit(laptop, { kind: 'update' })
    await room.commit(alice.phone, { kind: 'owners', owners: [alice.account.id, bob.account.id] })
    const dave = await world.person('dave')
    await room.add(bob.phone, [dave.phone])
    await room.commit(bob.phone, { kind: 'remove', devices: [carol.phone.self.device] })
    await room.rejoin(laptop)
    epochs.push(room.agreed().epoch)
    assert.deepEqual(epochs, [1, 6])
    assert.equal(room.agreed().members.length, 4)
    for (const reader of [bob.phone, laptop, dave.phone])
      assert.equal(await room.read(reader, await room.say(alice.phone, 'hello')), 'hello')
  })

  test('takes effect at its place: until then messages come and go in the old epoch', async () => {
    const { room, alice, bob } = await group('pending')
    const staged = await room.stage(alice.phone, { kind: 'update' })
    const before = await room.say(alice.phone, 'sealed while the commit is under way')
    assert.equal(await room.read(alice.phone, await room.say(bob.phone, 'opened meanwhile')), 'opened meanwhile')
    await room.accept(alice.phone, staged)
    assert.equal(await room.read(bob.phone, before), 'sealed while the commit is under way')
    room.agreed()
  })

  test('that loses its epoch is forgotten, and what was sealed before stays good', async () => {
    const { room, alice, bob } = await group('lost')
    const loser = await room.stage(alice.phone, { kind: 'update' })
    const winner = await room.stage(bob.phone, { kind: 'update' })
    await room.accept(bob.phone, winner)
    const late = await room.deliver(bob.phone, alice.phone, loser)
    assert.equal(late.kind, 'fork', 'an honest server never delivers the loser')
    assert.equal(await room.read(bob.phone, await room.say(alice.phone, 'after')), 'after')
  })

  test('that comes again is known, and one that comes too soon waits', async () => {
    const { room, alice, bob } = await group('again')
    const first = await room.commit(alice.phone, { kind: 'update' })
    const seats = new Map(room.seats)
    const second = await room.commit(alice.phone, { kind: 'update' })
    const third = await room.stage(alice.phone, { kind: 'update' })
    assert.equal((await room.deliver(bob.phone, alice.phone, first)).kind, 'passed')
    const behind = seats.get(bob.phone)
    assert.ok(behind)
    const early = await applyCommit(behind, room.arrived(alice.phone, third), { lists: room.world.lists })
    assert.equal(early.kind, 'early')
    const next = await applyCommit(behind, room.arrived(alice.phone, second), { lists: room.world.lists })
    assert.equal(next.kind, 'applied')
  })

  test('that uses lists which the device does not have asks for exactly these and changes nothing', async () => {
    const { world, room, alice, bob, carol } = await group('needs')
    const tablet = await world.device(carol)
    const { keyPackage } = await packageOf(tablet, 'x25519')
    const staged = await room.stage(alice.phone, { kind: 'add', keyPackages: [keyPackage] })
    const before = room.state(bob.phone)
    const arrived = room.arrived(alice.phone, staged)
    const stale = await applyCommit(before, arrived, { lists: () => undefined })
    assert.ok(stale.kind === 'needs')
    assert.deepEqual(stale.lists, [{ account: carol.account.id, version: 2, hash: newest(carol).hash }])
    const wrong = await applyCommit(before, arrived, { lists: () => carol.lists[0] })
    assert.equal(wrong.kind, 'needs', 'another version than the one that is named is not taken')
    assert.equal((await applyCommit(before, arrived, { lists: world.lists })).kind, 'applied')
  })

  test('S18: says nothing of what it was that failed beyond the kind of refusal', async () => {
    const { room, alice, bob } = await group('quiet')
    const { commit, roster } = await room.stage(alice.phone, { kind: 'update' })
    const altered = commit.with(commit.length - 1, (commit.at(-1) ?? 0) ^ 1)
    const arrived = room.arrived(alice.phone, { commit, roster })
    const stuck = await applyCommit(room.state(bob.phone), { ...arrived, commit: altered }, { lists: room.world.lists })
    assert.ok(stuck.kind === 'stuck')
    assert.equal(stuck.reason, 'unverifiable')
    assert.equal(stuck.by, undefined, 'nobody is blamed for what is not signed')
  })
})

describe('S16: a member cannot', () => {
  test('bring an account in without being an owner', async () => {
    const { world, room, carol } = await group('intruder')
    const mallory = await world.person('mallory')
    const forged = await forgeCommit(room, carol.phone, {
      proposals: [await addOf(mallory.phone)],
      touching: [mallory],
    })
    await refusedByAll(room, carol.phone, forged, 'forbidden')
    const { keyPackage } = await packageOf(mallory.phone, 'x25519')
    await assert.rejects(room.stage(carol.phone, { kind: 'add', keyPackages: [keyPackage] }), { reason: 'forbidden' })
  })

  test("take another account's device out without being an owner", async () => {
    const { room, alice, carol } = await group('evict')
    const forged = await forgeCommit(room, carol.phone, { proposals: [removeOf(0)], touching: [alice] })
    await refusedByAll(room, carol.phone, forged, 'forbidden')
  })

  test('make itself an owner', async () => {
    const { room, carol, alice } = await group('usurp')
    const rules = { kind: 'group', owners: [carol.account.id], invited: [] } as const
    const seizing: Proposal = {
      proposalType: 'group_context_extensions',
      groupContextExtensions: { extensions: rulesExtension(rules) },
    }
    await refusedByAll(room, carol.phone, await forgeCommit(room, carol.phone, { proposals: [seizing] }), 'forbidden')
    const clearing: Proposal = { proposalType: 'group_context_extensions', groupContextExtensions: { extensions: [] } }
    const forged = await forgeCommit(room, alice.phone, { proposals: [clearing] })
    await refusedByAll(room, alice.phone, forged, 'malformed')
  })

  test("put a leaf with another account's name into the tree", async () => {
    const { world, room, alice, bob } = await group('impostor')
    const mallory = await world.person('mallory')
    const claimed = await addInTheNameOf(bob, mallory.phone)
    const forged = await forgeCommit(room, alice.phone, { proposals: [claimed], touching: [bob] })
    await refusedByAll(room, alice.phone, forged, 'list')
  })

  test('bring in a device that its list does not have any more', async () => {
    const { world, room, alice, carol } = await group('delisted')
    const tablet = await world.device(carol)
    const add = await addOf(tablet)
    await world.delist(tablet)
    const forged = await forgeCommit(room, alice.phone, { proposals: [add], touching: [carol] })
    await refusedByAll(room, alice.phone, forged, 'list')
  })

  test('use an older list than the last one that was used', async () => {
    const { world, room, alice, carol } = await group('older')
    const tablet = await world.device(carol)
    await room.add(alice.phone, [tablet])
    const watch = await world.device(carol)
    const add = await addOf(watch)
    const forged = await forgeCommit(room, alice.phone, {
      proposals: [add],
      touching: [carol],
      lie: (note) => ({
        ...note,
        lists: note.lists.map((ref) => ({ ...ref, version: 1, hash: carol.lists[0]?.hash ?? ref.hash })),
      }),
    })
    await refusedByAll(room, alice.phone, forged, 'list')
  })

  test('sign another roster than the commit leads to', async () => {
    const { room, alice } = await group('roster')
    const forged = await forgeCommit(room, alice.phone, { lie: (note) => ({ ...note, roster: note.roster.slice(1) }) })
    await refusedByAll(room, alice.phone, forged, 'roster')
  })

  test('sign other standings than the commit leads to', async () => {
    const { room, alice } = await group('standings')
    const forged = await forgeCommit(room, alice.phone, { lie: (note) => ({ ...note, standings: hashOf() }) })
    await refusedByAll(room, alice.phone, forged, 'list')
  })

  test('add and remove in one commit', async () => {
    const { world, room, alice, bob, carol } = await group('mixed')
    const tablet = await world.device(carol)
    const proposals = [await addOf(tablet), removeOf(1)]
    const forged = await forgeCommit(room, alice.phone, { proposals, touching: [carol, bob] })
    await refusedByAll(room, alice.phone, forged, 'forbidden')
  })

  test('propose what no conversation has, or remove what is not there', async () => {
    const { room, alice } = await group('proposals')
    const cases: Record<string, readonly ProposalOrRef[]> = {
      'a leaf far outside of the tree': [byValue(removeOf(1000))],
      'a leaf that is just outside': [byValue(removeOf(4))],
      'one leaf twice': [byValue(removeOf(1)), byValue(removeOf(1))],
      'a proposal by reference': [{ proposalOrRefType: 'reference', reference: new Uint8Array(32) }],
      'a pre-shared key': [
        byValue({
          proposalType: 'psk',
          psk: {
            preSharedKeyId: { psktype: 'external', pskId: new Uint8Array(1), pskNonce: new Uint8Array(32) },
          },
        }),
      ],
      'another group': [
        byValue({
          proposalType: 'reinit',
          reinit: {
            groupId: new Uint8Array(36),
            version: 'mls10',
            cipherSuite: 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519',
            extensions: [],
          },
        }),
      ],
      'a proposal of a kind that nobody knows': [byValue({ proposalType: 0xf0ff, proposalData: new Uint8Array(3) })],
      'an external join by a member': [
        byValue({ proposalType: 'external_init', externalInit: { kemOutput: new Uint8Array(32) } }),
      ],
    }
    for (const [name, proposals] of Object.entries(cases)) {
      const forged = await tampered(room, alice.phone, (commit) => ({
        commit: { ...commit, proposals: [...proposals] },
      }))
      await refusedByAll(room, alice.phone, forged, 'forbidden').catch((cause) => {
        throw new Error(name, { cause })
      })
    }
  })

  test('commit for a blank leaf, or as somebody from outside', async () => {
    const { room, alice, carol } = await group('senders')
    await room.commit(alice.phone, { kind: 'remove', devices: [carol.phone.self.device] })
    for (const [sender, reason] of [
      [{ senderType: 'member', leafIndex: 3 }, 'unverifiable'],
      [{ senderType: 'member', leafIndex: 1000 }, 'unverifiable'],
      [{ senderType: 'external', senderIndex: 0 }, 'forbidden'],
      [{ senderType: 'new_member_commit' }, 'forbidden'],
    ] as const) {
      const forged = await tampered(room, alice.phone, (commit) => ({ commit, sender }))
      await refusedByAll(room, alice.phone, forged, reason)
    }
  })

  test('bring a key that the tree had before, or one key for two places', async () => {
    const { room, alice } = await group('reuse')
    const old = leafKeysOf(room, alice.phone)[1]
    for (const place of ['old', 'own'] as const) {
      const forged = await tampered(room, alice.phone, (commit) => {
        const [first, ...rest] = commit.path?.nodes ?? []
        assert.ok(commit.path && first && old)
        const hpkePublicKey = place === 'old' ? old : commit.path.leafNode.hpkePublicKey
        return { commit: { ...commit, path: { ...commit.path, nodes: [{ ...first, hpkePublicKey }, ...rest] } } }
      })
      await refusedByAll(room, alice.phone, forged, 'keys')
    }
  })

  test('change more of its leaf than the key', async () => {
    const { room, alice } = await group('leaf')
    const forged = await tampered(room, alice.phone, (commit) => {
      assert.ok(commit.path)
      const { leafNode } = commit.path
      const capabilities = { ...leafNode.capabilities, proposals: [0xf0ff] }
      return { commit: { ...commit, path: { ...commit.path, leafNode: { ...leafNode, capabilities } } } }
    })
    await refusedByAll(room, alice.phone, forged, 'keys')
  })

  test('commit in the name of another', async () => {
    const { room, alice, carol } = await group('name')
    const forged = await forgeCommit(room, alice.phone, { seed: carol.phone.self.signatureSeed })
    await refusedByAll(room, alice.phone, forged, 'unverifiable')
  })
})

test('a server that names another sender, send or roster beside a commit is found out', async () => {
  const { room, alice, bob, carol } = await group('envelope')
  const staged = await room.stage(alice.phone, { kind: 'update' })
  const arrived = room.arrived(alice.phone, staged)
  const lists = room.world.lists
  const outcomes = await Promise.all(
    [
      { ...arrived, sender: carol.phone.self.device },
      { ...arrived, id: decode(SendId, new Uint8Array(16)) },
      { ...arrived, roster: arrived.roster.slice(1) },
      { ...arrived, roster: [...arrived.roster, alice.phone.self.device] },
      { ...arrived, roster: arrived.roster.toReversed() },
    ].map((lie) => applyCommit(room.state(bob.phone), lie, { lists })),
  )
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.kind === 'stuck' ? outcome.reason : outcome.kind)),
    ['misdirected', 'misdirected', 'roster', 'roster', 'applied'],
  )
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { createProposal, decodeMlsMessage, encodeMlsMessage } from 'ts-mls'
import { cryptoOf } from '../../src/conversation/algorithms.ts'
import { engineConfig, engineState } from '../../src/conversation/epochs.ts'
import { applyCommit } from '../../src/conversation/index.ts'
import { EarlierRatchets } from '../../src/conversation/ratchets.ts'
import { departureOf } from '../../src/conversation/shared.ts'
import { readGroup } from '../../src/conversation/state.ts'
import { addInTheNameOf, forgeCommit, forgeRejoin } from './forge.ts'
import { refusedByAll } from './refusal.ts'
import { packageOf, Room, type Somebody, type TestDevice, World } from './world.ts'

/** A group of three accounts: alice owns it, bob has two devices; mallory is not in it. */
async function group(label: string) {
  const world = new World(label)
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const laptop = await world.device(bob)
  const mallory = await world.person('mallory')
  const room = await Room.of(world, alice.phone, [bob.phone, laptop, carol.phone])
  return { world, room, alice, bob, carol, laptop, mallory }
}

/** What says to be the device, with a key for MLS that is somebody else's. */
const withKeyOf = (device: TestDevice, { phone }: Somebody): TestDevice => ({
  ...device,
  self: { ...device.self, signatureSeed: phone.self.signatureSeed },
})

/** The word of a device that its account leaves, as if it had been given in this epoch. */
async function wordOf({ self }: TestDevice, room: Room, epoch: number) {
  const { account, device } = self
  const signature = await self.requestKey.sign(departureOf({ group: room.id, epoch, account, device }))
  return { account, device, epoch, signature }
}

const removing = (...devices: TestDevice[]) =>
  ({ kind: 'remove', devices: devices.map(({ self }) => self.device) }) as const

describe('S16: a leaf that names a listed device', () => {
  test('with another key than the list certifies is not added', async () => {
    const { world, room, alice, carol, mallory } = await group('key of another')
    const tablet = await world.device(carol)
    const forged = await forgeCommit(room, alice.phone, {
      proposals: [await addInTheNameOf(carol, withKeyOf(tablet, mallory))],
      touching: [carol],
    })
    await refusedByAll(room, alice.phone, forged, 'list')
  })

  test('with another key than the list certifies does not rejoin', async () => {
    const { world, room, carol, mallory } = await group('key from outside')
    const tablet = await world.device(carol)
    const twin = withKeyOf(tablet, mallory)
    await refusedByAll(room, twin, await forgeRejoin(room, twin), 'list')
  })
})

test('S16: a commit names the lists of the accounts that it touches, and of no others', async () => {
  const { world, room, alice, carol } = await group('more lists')
  await world.device(carol) // a version that nobody has used here yet
  await refusedByAll(room, alice.phone, await forgeCommit(room, alice.phone, { touching: [carol] }), 'list')
})

test('C13: what is sealed is no commit, and what is said to be a sealed handshake is no message', async () => {
  const { room, alice, bob, carol } = await group('wire formats')
  const { id, commit, roster } = room.arrived(alice.phone, await room.stage(alice.phone, { kind: 'update' }))
  const sealed = await room.say(alice.phone, 'a message')
  for (const member of [bob.phone, carol.phone]) {
    const arrived = { sender: alice.phone.self.device, id, commit: sealed, roster }
    const applied = await applyCommit(room.state(member), arrived, { lists: room.world.lists })
    assert.deepEqual([applied.kind, applied.kind === 'stuck' && applied.reason], ['stuck', 'malformed'])
    assert.equal(await room.read(member, commit), '[malformed]')
    for (const contentType of ['commit', 'proposal'] as const) {
      const [message] = decodeMlsMessage(sealed, 0) ?? []
      assert.ok(message?.wireformat === 'mls_private_message')
      const privateMessage = { ...message.privateMessage, contentType }
      assert.equal(await room.read(member, encodeMlsMessage({ ...message, privateMessage })), '[malformed]')
    }
    assert.equal(await room.read(member, sealed), 'a message')
  }
})

test('C13: a proposal by itself is no commit, whoever signed it', async () => {
  const { room, alice, bob, carol } = await group('proposal')
  const state = engineState(
    readGroup(room.state(alice.phone)),
    engineConfig(() => true),
    alice.phone.self.signatureSeed,
  )
  const removal = { proposalType: 'remove', remove: { removed: 1 } } as const
  const { message } = await createProposal(state, true, removal, await cryptoOf(room.suite))
  const { id, roster } = room.arrived(alice.phone, await room.stage(alice.phone, { kind: 'update' }))
  const arrived = { sender: alice.phone.self.device, id, commit: encodeMlsMessage(message), roster }
  for (const member of [bob.phone, carol.phone]) {
    const applied = await applyCommit(room.state(member), arrived, { lists: room.world.lists })
    assert.deepEqual([applied.kind, applied.kind === 'stuck' && applied.reason], ['stuck', 'malformed'])
  }
})

test('S08: a newer list that has a device no more does not make a commit invalid that adds it', async () => {
  const { world, room, alice, bob, carol } = await group('newer list')
  const tablet = await world.device(carol)
  const { keyPackage } = await packageOf(tablet, 'x25519')
  const staged = await room.stage(alice.phone, { kind: 'add', keyPackages: [keyPackage] })
  await world.delist(tablet)
  await room.accept(alice.phone, staged)
  const joined = await room.welcome(tablet, alice.phone, staged)
  assert.equal(joined.kind, 'joined')
  assert.equal(room.agreed().members.length, 5)
  await room.commit(bob.phone, removing(tablet))
  assert.equal(room.agreed().members.length, 4, 'it goes by a commit of its own')
})

test('S16: of the epochs before a commit that takes a device off, no key is kept', async () => {
  const { room, alice, bob, carol } = await group('no keys')
  await room.commit(alice.phone, { kind: 'update' })
  const kept = (device: TestDevice) => ({
    epochs: readGroup(room.state(device)).epochs.length,
    ratchets: decode(EarlierRatchets, room.state(device).earlier).length,
  })
  assert.deepEqual(kept(bob.phone), { epochs: 2, ratchets: 1 })
  await room.commit(alice.phone, removing(carol.phone))
  for (const device of [alice.phone, bob.phone]) assert.deepEqual(kept(device), { epochs: 1, ratchets: 0 })
})

describe('the word of an account that it leaves', () => {
  test('does not count from a device that has left its list since', async () => {
    const { world, room, bob, carol, laptop } = await group('word of the delisted')
    const word = await wordOf(laptop, room, room.agreed().epoch)
    await world.delist(laptop)
    const wish = { ...removing(bob.phone), departures: [word] }
    await assert.rejects(room.stage(carol.phone, wish), { reason: 'list' })
  })

  test('does not count when it is of an epoch to come: it would outlast a return', async () => {
    const { room, bob, carol, laptop } = await group('word of the future')
    const { epoch } = room.agreed()
    const wish = async (at: number) => ({
      ...removing(bob.phone, laptop),
      departures: [await wordOf(bob.phone, room, at)],
    })
    await assert.rejects(room.stage(carol.phone, await wish(epoch + 1)), { reason: 'forbidden' })
    await room.commit(carol.phone, await wish(epoch))
    assert.equal(room.agreed().members.length, 2)
  })
})

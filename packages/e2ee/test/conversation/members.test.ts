import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sameBytes } from '../../src/bytes.ts'
import type { Departure, Opened } from '../../src/conversation/index.ts'
import { applyCommit, open, stageCommit } from '../../src/conversation/index.ts'
import { personOf } from '../../src/conversation/members.ts'
import { newest, now, packageOf, Room, type TestDevice, World } from './world.ts'

async function group(label: string) {
  const world = new World(label)
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const laptop = await world.device(bob)
  const room = await Room.of(world, alice.phone, [bob.phone, laptop, carol.phone])
  return { world, room, alice, bob, carol, laptop }
}

const remove = (...devices: TestDevice[]) =>
  ({ kind: 'remove', devices: devices.map(({ self }) => self.device) }) as const

describe('a device that was taken out', () => {
  test('opens nothing that is sealed later, and nobody opens what was sealed with it before', async () => {
    const { room, alice, bob, carol } = await group('removed')
    const before = await room.say(carol.phone, 'sealed before')
    const kept = room.state(carol.phone)
    await room.commit(alice.phone, remove(carol.phone))
    assert.equal(room.seats.has(carol.phone), false, 'it is told so')
    assert.equal(await room.read(bob.phone, before), '[gone]')
    const later = await open(kept, await room.say(alice.phone, 'later'))
    assert.deepEqual([later.kind, later.kind === 'unopened' && later.reason], ['unopened', 'early'])
  })

  test('by a list that has it no more may be taken out by anybody, one that is listed by owners only', async () => {
    const { world, room, bob, carol, laptop } = await group('delisted')
    await assert.rejects(room.stage(carol.phone, remove(laptop)), { reason: 'forbidden' })
    await world.delist(laptop)
    await room.commit(carol.phone, remove(laptop))
    const { version } = newest(bob)
    assert.ok(room.agreed().lists.some((used) => sameBytes(used.account, bob.account.id) && used.version === version))
  })

  test('of the own account needs no owner', async () => {
    const { room, bob, laptop } = await group('own')
    await room.commit(bob.phone, remove(laptop))
    assert.equal(room.agreed().members.length, 3)
  })

  test('does not come back by the list that still had it', async () => {
    const { world, room, bob, carol, laptop } = await group('back')
    const before = newest(bob)
    const { keyPackage } = await packageOf(laptop, 'x25519')
    await world.delist(laptop)
    await room.commit(carol.phone, remove(laptop))
    const options = { ...world.sending(carol.phone), lists: [before], now }
    const wish = { kind: 'add', keyPackages: [keyPackage] } as const
    await assert.rejects(stageCommit(room.state(carol.phone), carol.phone.self, wish, options), { reason: 'list' })
  })
})

describe('an account that leaves', () => {
  test('is taken out by any member that shows its word', async () => {
    const { room, bob, carol, laptop } = await group('leaves')
    const departure = await farewell(room, bob.phone, carol.phone)
    await assert.rejects(room.stage(carol.phone, remove(bob.phone, laptop)), { reason: 'forbidden' })
    await room.commit(carol.phone, { ...remove(bob.phone, laptop), departures: [departure] })
    assert.equal(room.agreed().members.length, 2)
  })

  test('is not taken out by an old word after it has come back, nor by the word of another', async () => {
    const { room, alice, bob, carol, laptop } = await group('returns')
    const departure = await farewell(room, bob.phone, carol.phone)
    const wish = { ...remove(bob.phone, laptop), departures: [departure] }
    await room.commit(carol.phone, wish)
    await room.add(alice.phone, [bob.phone, laptop])
    await assert.rejects(room.stage(carol.phone, wish), { reason: 'forbidden' })
    const ofCarol = await farewell(room, carol.phone, alice.phone)
    const forged = { ...remove(bob.phone, laptop), departures: [{ ...ofCarol, account: bob.account.id }] }
    await assert.rejects(room.stage(carol.phone, forged), { reason: 'forbidden' })
    const stolen = { ...departure, epoch: room.view(carol.phone).epoch }
    await assert.rejects(room.stage(carol.phone, { ...wish, departures: [stolen] }), { reason: 'unverifiable' })
  })

  test('and was an owner comes back only after the roles have changed', async () => {
    const { room, alice, bob } = await group('owner')
    await room.commit(alice.phone, { kind: 'owners', owners: [alice.account.id, bob.account.id] })
    await room.commit(bob.phone, remove(alice.phone))
    await assert.rejects(room.add(bob.phone, [alice.phone]), { reason: 'forbidden' })
    await room.commit(bob.phone, { kind: 'owners', owners: [bob.account.id] })
    await room.add(bob.phone, [alice.phone])
    assert.deepEqual(room.agreed().owners, [bob.account.id])
  })

  test('and was the only owner leaves a group in which everybody is one', async () => {
    const { room, alice, carol } = await group('last')
    const departure = await farewell(room, alice.phone, carol.phone)
    await room.commit(carol.phone, { ...remove(alice.phone), departures: [departure] })
    assert.equal(room.agreed().owners.length, 2)
    await room.commit(carol.phone, { kind: 'owners', owners: [carol.account.id] })
    assert.deepEqual(room.agreed().owners, [carol.account.id])
  })
})

describe('a conversation of two', () => {
  test('takes in both sides with all their devices, by whoever is there, and nobody else', async () => {
    const world = new World('direct')
    const [alice, bob, mallory] = [
      await world.person('alice'),
      await world.person('bob'),
      await world.person('mallory'),
    ]
    const purpose = { kind: 'direct', with: bob.account.id } as const
    const room = await Room.of(world, alice.phone, [bob.phone], { purpose })
    const laptop = await world.device(alice)
    await room.add(bob.phone, [laptop])
    assert.equal(room.agreed().members.length, 3)
    assert.deepEqual(room.agreed().owners, [])
    await assert.rejects(room.add(alice.phone, [mallory.phone]), { reason: 'forbidden' })
    await assert.rejects(room.stage(alice.phone, remove(bob.phone)), { reason: 'forbidden' })
    await assert.rejects(room.stage(alice.phone, { kind: 'owners', owners: [alice.account.id] }), {
      reason: 'forbidden',
    })
  })
})

describe('a conversation with oneself', () => {
  test('takes in the own devices and nobody else', async () => {
    const world = new World('self')
    const [alice, bob] = [await world.person('alice'), await world.person('bob')]
    const laptop = await world.device(alice)
    const room = await Room.of(world, alice.phone, [laptop], { purpose: { kind: 'self' } })
    assert.equal(await room.read(laptop, await room.say(alice.phone, 'a note')), 'a note')
    await assert.rejects(room.add(alice.phone, [bob.phone]), { reason: 'forbidden' })
  })
})

test('S16: an earlier epoch is not left open for a device that a commit took off', async () => {
  const { room, alice, bob, carol } = await group('floor')
  const beforeUpdate = await room.say(alice.phone, 'three epochs before')
  await room.commit(alice.phone, { kind: 'update' })
  assert.equal(await room.read(bob.phone, beforeUpdate), 'three epochs before', 'a mere update leaves it open')
  const justBefore = await room.say(alice.phone, 'one epoch before')
  await room.commit(alice.phone, remove(carol.phone))
  assert.equal(await room.read(bob.phone, justBefore), '[gone]')
  assert.equal(room.state(bob.phone).earlier.length, 4, 'an empty list')
})

test('a commit by which a device rejoins leaves earlier epochs open: nobody has gone', async () => {
  const { room, alice, bob, laptop } = await group('resync')
  const before = await room.say(alice.phone, 'before')
  await room.rejoin(laptop)
  assert.equal(await room.read(bob.phone, before), 'before')
})

/** What `from` says when its account leaves, as `reader` can show it. */
async function farewell(room: Room, from: TestDevice, reader: TestDevice): Promise<Departure> {
  const opened: Opened = await room.open(reader, await room.sayFarewell(from))
  assert.ok(opened.kind === 'opened' && opened.message.content.kind === 'leave')
  const { epoch, departure: signature } = opened.message.content.body
  return { ...opened.message.sender, epoch, signature }
}

test('whoever applies a commit learns who came, who went and who did it', async () => {
  const { world, room, alice, bob, carol } = await group('told')
  const tablet = await world.device(carol)
  const { keyPackage } = await packageOf(tablet, 'x25519')
  const added = await room.stage(carol.phone, { kind: 'add', keyPackages: [keyPackage] })
  const told = await room.deliver(bob.phone, carol.phone, added)
  assert.ok(told.kind === 'applied')
  assert.deepEqual(told.by, personOf(carol.phone.self))
  assert.deepEqual([told.arrived, told.left, told.change], [[personOf(tablet.self)], [], 'add'])
  const removed = await applyCommit(room.state(alice.phone), room.arrived(carol.phone, added), { lists: world.lists })
  assert.equal(removed.kind, 'applied')
})

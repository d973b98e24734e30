import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { newDevice } from '../src/device.ts'
import {
  addDevice,
  changeManager,
  closeAccount,
  createAccount,
  recoverAccount,
  removeDevice,
} from '../src/listentries.ts'
import { newSeed } from '../src/secret.ts'
import { signingKey } from '../src/signing.ts'
import { continueVerified, verifyList } from '../src/verifiedlist.ts'
import { seededKey, testAccount } from './account.ts'
import { seeded } from './seeded.ts'

test('an account begins with its name, its server, its manager key and one device', async () => {
  const { id, serverKey, accountKey, managerKey, phone, list } = await testAccount('alice')
  assert.deepEqual(list.account, id)
  assert.equal(list.name, 'alice')
  assert.deepEqual(list.serverKey, serverKey)
  assert.deepEqual(list.accountKey, accountKey.publicKey)
  assert.deepEqual(list.managerKey, managerKey.publicKey)
  assert.deepEqual(
    list.devices.map(({ device }) => device),
    [phone.device],
  )
})

test('the same account is created by the same bytes again, so that a registration can be repeated', async () => {
  assert.deepEqual((await testAccount('alice')).created, (await testAccount('alice')).created)
})

test('a name that may not be given creates no account', async () => {
  const { accountKey, managerKey, serverKey, phone } = await testAccount('alice')
  const account = { accountKey, managerKey: managerKey.publicKey, serverKey, device: phone }
  for (const name of ['a', 'alice ', 'a\u0000b', 'аlice'])
    await assert.rejects(createAccount({ ...account, name }), { reason: 'bad-name' })
})

test('a device is added, and taken off for good', async () => {
  const alice = await testAccount('alice')
  const laptop = await alice.certificateOf(newDevice(seeded('laptop')))
  const grown = await continueVerified(alice.list, [await addDevice(alice.list, alice.managerKey, laptop)])
  assert.deepEqual(grown.devices.at(-1), { ...laptop, since: 2 })
  const shrunk = await continueVerified(grown, [await removeDevice(grown, alice.managerKey, laptop.device)])
  assert.deepEqual(shrunk.devices, alice.list.devices)
  assert.deepEqual(shrunk.formerDevices, [laptop.device])
  await assert.rejects(addDevice(shrunk, alice.managerKey, laptop), { reason: 'bad-list' })
})

test('after a change of the manager key the former one writes nothing', async () => {
  const alice = await testAccount('alice')
  const next = await seededKey(seeded('next manager'))
  const list = await continueVerified(alice.list, [await changeManager(alice.list, alice.managerKey, next.publicKey)])
  const { device } = alice.phone
  await assert.rejects(removeDevice(list, alice.managerKey, device), { reason: 'bad-list' })
  assert.equal((await continueVerified(list, [await removeDevice(list, next, device)])).devices.length, 0)
})

describe('with the words', () => {
  test('a recovery takes every device off but the new one', async () => {
    const alice = await testAccount('alice')
    const managerKey = await seededKey(seeded('recovered'))
    const device = await alice.certificateOf(newDevice(seeded('recovered device')))
    const entry = await recoverAccount(alice.list, alice.accountKey, { managerKey: managerKey.publicKey, device })
    const list = await continueVerified(alice.list, [entry])
    assert.deepEqual(list.devices, [{ ...device, since: 2 }])
    assert.deepEqual(list.formerDevices, [alice.phone.device])
    await assert.rejects(removeDevice(list, alice.managerKey, device.device), { reason: 'bad-list' })
    assert.equal((await continueVerified(list, [await removeDevice(list, managerKey, device.device)])).version, 3)
  })

  test('a recovery keeps the devices that it names', async () => {
    const alice = await testAccount('alice')
    const { publicKey: managerKey } = await seededKey(seeded('recovered'))
    const keep = [alice.phone.device]
    const list = await continueVerified(alice.list, [
      await recoverAccount(alice.list, alice.accountKey, { managerKey, keep }),
    ])
    assert.deepEqual(list.devices, alice.list.devices)
  })

  test('a thief with the manager key is put out, whatever was written meanwhile', async () => {
    const alice = await testAccount('alice')
    const thief = await seededKey(seeded('thief'))
    const stolen = await continueVerified(alice.list, [
      await changeManager(alice.list, alice.managerKey, thief.publicKey),
    ])
    const { publicKey: managerKey } = await seededKey(seeded('recovered'))
    const list = await continueVerified(stolen, [await recoverAccount(stolen, alice.accountKey, { managerKey })])
    assert.deepEqual(list.managerKey, managerKey)
    await assert.rejects(changeManager(list, thief, thief.publicKey), { reason: 'bad-list' })
  })

  test('an account ends, and nothing follows', async () => {
    const alice = await testAccount('alice')
    const list = await continueVerified(alice.list, [await closeAccount(alice.list, alice.accountKey)])
    assert.equal(list.isClosed, true)
    assert.deepEqual(list.devices, [])
    const { publicKey: managerKey } = alice.managerKey
    await assert.rejects(recoverAccount(list, alice.accountKey, { managerKey }), { reason: 'bad-list' })
    await assert.rejects(closeAccount(list, alice.accountKey), { reason: 'bad-list' })
  })
})

describe('no entry is written that its readers would refuse', () => {
  test('by a key that is neither the account’s nor the manager’s', async () => {
    const alice = await testAccount('alice')
    const stranger = await signingKey(newSeed(seeded('stranger')))
    const laptop = await alice.certificateOf(newDevice(seeded('laptop')))
    await assert.rejects(addDevice(alice.list, stranger, laptop), { reason: 'bad-list' })
    await assert.rejects(closeAccount(alice.list, stranger), { reason: 'bad-list' })
  })

  test('by the manager key, where only the words will do', async () => {
    const alice = await testAccount('alice')
    const { publicKey: managerKey } = alice.managerKey
    await assert.rejects(recoverAccount(alice.list, alice.managerKey, { managerKey }), { reason: 'bad-list' })
    await assert.rejects(closeAccount(alice.list, alice.managerKey), { reason: 'bad-list' })
  })

  test('for a device that belongs to somebody else', async () => {
    const alice = await testAccount('alice')
    const bob = await testAccount('bob')
    const laptop = await bob.certificateOf(newDevice(seeded('laptop')))
    await assert.rejects(addDevice(alice.list, alice.managerKey, laptop), { reason: 'bad-list' })
  })

  test('for an eleventh device', async () => {
    const alice = await testAccount('alice')
    const random = seeded('many')
    let list = alice.list
    const addOne = async () => addDevice(list, alice.managerKey, await alice.certificateOf(newDevice(random)))
    while (list.devices.length < 10) list = await continueVerified(list, [await addOne()])
    await assert.rejects(addOne(), { reason: 'bad-list' })
  })

  test('by a key that signs something else than it is asked to', async () => {
    const alice = await testAccount('alice')
    const broken = { ...alice.accountKey, sign: () => alice.accountKey.sign(Uint8Array.of(0)) }
    await assert.rejects(closeAccount(alice.list, broken), { reason: 'bad-list' })
    const { managerKey, serverKey, name, phone: device } = alice
    const account = { accountKey: broken, managerKey: managerKey.publicKey, serverKey, name, device }
    await assert.rejects(createAccount(account), { reason: 'bad-list' })
  })
})

test('the words have room for their entries when those of the manager key are used up', async () => {
  const alice = await testAccount('alice')
  const full = { ...alice.list, managerEntries: 1000 }
  const { publicKey: managerKey } = await seededKey(seeded('next manager'))
  await assert.rejects(changeManager(full, alice.managerKey, managerKey), { reason: 'bad-list' })
  const entry = await recoverAccount(full, alice.accountKey, { managerKey })
  assert.equal((await verifyList([alice.created, entry])).version, 2)
})

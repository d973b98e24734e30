import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, ProtocolError } from '@messageu/protocol'
import { accountName, Hash } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { certify, newDevice } from '../src/device.ts'
import { addDevice, createAccount, removeDevice } from '../src/listentries.ts'
import { continueVerified, judgeList, verifyList } from '../src/verifiedlist.ts'
import { forge, testAccount } from './account.ts'
import { cast, history } from './golden/lists.ts'
import { seeded } from './seeded.ts'

const people = cast()
const lists = people.then(history)

test('a list read at once and a list read entry by entry are the same', async () => {
  const entries = (await lists).map(({ entry }) => entry)
  let list = await verifyList(entries.slice(0, 1))
  for (const entry of entries.slice(1)) list = await continueVerified(list, [entry])
  assert.deepEqual(list, await verifyList(entries))
})

test('continuing by nothing changes nothing', async () => {
  const { alice } = await people
  assert.deepEqual(await continueVerified(alice.list, []), alice.list)
})

test('continuing leaves the list that it began with as it was', async () => {
  const [first, second, third] = await lists
  assert.ok(first && second && third)
  const before = structuredClone(first.list)
  await continueVerified(first.list, [second.entry, third.entry])
  assert.deepEqual(first.list, before)
})

describe('what was known of the account', () => {
  test('S01: the true list of somebody else does not pass for a contact’s', async () => {
    const { alice, bob } = await people
    await assert.rejects(verifyList([bob.created], { account: alice.id }), { reason: 'bad-list' })
    assert.deepEqual(await verifyList([alice.created], { account: alice.id }), alice.list)
  })

  test('S01: a list at another server, or under another name, is refused', async () => {
    const { alice, bob } = await people
    const elsewhere = bob.accountKey.publicKey
    await assert.rejects(verifyList([alice.created], { serverKey: elsewhere }), { reason: 'bad-list' })
    await assert.rejects(verifyList([alice.created], { name: accountName('bob') }), { reason: 'bad-list' })
    const { serverKey } = alice
    assert.deepEqual(await verifyList([alice.created], { serverKey, name: accountName('alice') }), alice.list)
  })

  test('S01: another account key under the same name makes another account', async () => {
    const { alice } = await people
    const imposter = await testAccount('imposter')
    const entry = await createAccount({
      accountKey: imposter.accountKey,
      managerKey: imposter.managerKey.publicKey,
      name: 'alice',
      serverKey: alice.serverKey,
      device: imposter.phone,
    })
    assert.notDeepEqual((await verifyList([entry])).account, alice.id)
    await assert.rejects(verifyList([entry], { account: alice.id }), { reason: 'bad-list' })
  })
})

describe('what a server may try', () => {
  test('S01: it cannot add a device of its own', async () => {
    const { alice } = await people
    const mallory = await testAccount('mallory')
    const certificate = await certify(newDevice(mallory.random), { account: alice.id, serverKey: alice.serverKey })
    for (const signer of ['account', 'manager'] as const) {
      const entry = await forge(mallory.managerKey, {
        account: alice.id,
        version: 2,
        previous: alice.list.hash,
        signer,
        change: { kind: 'add', body: { device: certificate } },
      })
      await assert.rejects(continueVerified(alice.list, [entry]), { reason: 'bad-list' })
    }
  })

  test('S01: nor can a manager add a device that has not said itself that it belongs to this account', async () => {
    const { alice } = await people
    const mallory = await testAccount('mallory')
    const [phone, tablet] = [newDevice(mallory.random), newDevice(mallory.random)]
    const good = await certify(phone, { account: alice.id, serverKey: alice.serverKey })
    const other = await certify(tablet, { account: alice.id, serverKey: alice.serverKey })
    const certificates = {
      'made for another account': await certify(phone, { account: mallory.id, serverKey: alice.serverKey }),
      'made for another server': await certify(phone, { account: alice.id, serverKey: mallory.accountKey.publicKey }),
      'with the key of another device for MLS': { ...good, signatureKey: other.signatureKey },
      'with the key of another device for requests': { ...good, requestKey: other.requestKey },
    }
    for (const [what, device] of Object.entries(certificates)) {
      const entry = await forge(alice.managerKey, {
        account: alice.id,
        version: 2,
        previous: alice.list.hash,
        signer: 'manager',
        change: { kind: 'add', body: { device } },
      })
      await assert.rejects(continueVerified(alice.list, [entry]), { reason: 'bad-list' }, what)
    }
  })

  test('S01: it cannot take a device off, neither by an entry of its own nor by leaving out the one that added it', async () => {
    const entries = await lists
    const { alice, laptop } = await people
    const mallory = await testAccount('mallory')
    const second = entries[1]
    assert.ok(second)
    const removal = await forge(mallory.managerKey, {
      account: alice.id,
      version: 3,
      previous: second.list.hash,
      signer: 'manager',
      change: { kind: 'remove', body: { device: laptop.device } },
    })
    await assert.rejects(continueVerified(second.list, [removal]), { reason: 'bad-list' })
    const withoutSecond = entries.filter((each) => each !== second).map(({ entry }) => entry)
    await assert.rejects(verifyList(withoutSecond), { reason: 'bad-list' })
  })

  test('S03: an older list than the one seen is refused, at every pair of versions', async () => {
    const entries = await lists
    for (const { list: seen } of entries)
      for (const { list } of entries) {
        if (list.version >= seen.version) continue
        assert.throws(() => judgeList(seen, list), { reason: 'list-older' })
      }
  })

  test('S03: a list with another history is told apart from an older one', async () => {
    const { alice, laptop, tablet } = await people
    const { list, managerKey } = alice
    const one = await continueVerified(list, [await addDevice(list, managerKey, await alice.certificateOf(laptop))])
    const other = await continueVerified(list, [await addDevice(list, managerKey, await alice.certificateOf(tablet))])
    const otherGrown = await continueVerified(other, [await removeDevice(other, managerKey, tablet.device)])
    assert.throws(() => judgeList(one, other), { reason: 'list-forked' })
    assert.throws(() => judgeList(one, otherGrown), { reason: 'list-forked' })
    assert.throws(() => judgeList(otherGrown, one), { reason: 'list-older' })
  })

  test('S03: entries of another history do not continue the one that was seen', async () => {
    const { alice, laptop, tablet } = await people
    const { list, managerKey } = alice
    const one = await continueVerified(list, [await addDevice(list, managerKey, await alice.certificateOf(laptop))])
    const other = await continueVerified(list, [await addDevice(list, managerKey, await alice.certificateOf(tablet))])
    const next = await removeDevice(other, managerKey, tablet.device)
    await assert.rejects(continueVerified(one, [next]), { reason: 'bad-list' })
  })

  test('S03: an entry that was accepted once is refused when it comes again', async () => {
    const entries = await lists
    const newest = entries[4]
    assert.ok(newest)
    for (const { entry } of entries.slice(0, 5))
      await assert.rejects(continueVerified(newest.list, [entry]), { reason: 'bad-list' })
  })
})

describe('a list next to the one seen last', () => {
  test('is new, the same or newer', async () => {
    const entries = await lists
    for (const { list: seen } of entries)
      for (const { list } of entries)
        if (list.version >= seen.version)
          assert.equal(judgeList(seen, list), list.version === seen.version ? 'same' : 'newer')
    for (const { list } of entries) assert.equal(judgeList(undefined, list), 'new')
  })

  test('is forked if what was seen is not among its hashes', async () => {
    const { list } = await testAccount('alice')
    const hash = decode(Hash, list.hash.with(31, (list.hash[31] ?? 0) ^ 1))
    assert.throws(() => judgeList({ version: 1, hash }, list), { reason: 'list-forked' })
  })

  test('is older than any version that it has not reached', async () => {
    const { list } = await testAccount('alice')
    for (const version of [2, 1200, 2 ** 32 - 1])
      assert.throws(() => judgeList({ version, hash: list.hash }, list), { reason: 'list-older' })
  })
})

describe('bytes that were changed on the way', () => {
  test('W01: no byte of an entry can be changed', async () => {
    const { created } = await testAccount('alice')
    for (let at = 0; at < created.length; at++) {
      const changed = created.with(at, (created[at] ?? 0) ^ (1 << (at % 8)))
      await assert.rejects(verifyList([changed]), { reason: 'bad-list' }, `byte ${at}`)
    }
  })

  test('W02: no entry can be cut short, nor have bytes behind it', async () => {
    const { created } = await testAccount('alice')
    for (let length = 0; length < created.length; length++)
      await assert.rejects(verifyList([created.slice(0, length)]), { reason: 'bad-list' }, `${length} bytes`)
    await assert.rejects(verifyList([Uint8Array.of(...created, 0)]), { reason: 'bad-list' })
  })

  test('W01: entries that were spliced, swapped, repeated or made up are refused, and for no other reason', async () => {
    const entries = (await lists).map(({ entry }) => entry)
    const entry = fc.constantFrom(...entries)
    const spliced = fc
      .tuple(entry, entry, fc.nat(600), fc.nat(600))
      .map(([head, tail, cut, from]) => Uint8Array.of(...head.subarray(0, cut), ...tail.subarray(from)))
    const overwritten = fc
      .tuple(entry, fc.nat(600), fc.uint8Array({ minLength: 1, maxLength: 8 }))
      .map(([bytes, at, patch]) => {
        const changed = bytes.slice()
        changed.set(patch.subarray(0, Math.max(0, changed.length - at)), Math.min(at, changed.length))
        return changed
      })
    const anything = fc.oneof(entry, spliced, overwritten, fc.uint8Array({ maxLength: 600 }))
    await fc.assert(
      fc.asyncProperty(fc.array(anything, { maxLength: 5 }), async (bytes) => {
        const isPrefix = bytes.length > 0 && bytes.every((each, i) => String(each) === String(entries[i] ?? ''))
        const outcome = await verifyList(bytes).then(
          () => 'read',
          (error: { reason?: unknown }) => error.reason,
        )
        assert.equal(outcome, isPrefix ? 'read' : 'bad-list')
      }),
      { numRuns: 1000 },
    )
  })
})

test('an entry that is not even one is a bad list to its reader, who still finds the cause', async () => {
  await assert.rejects(verifyList([seeded('no entry')(100)]), (error: Error & { reason?: string }) => {
    assert.equal(error.reason, 'bad-list')
    assert.ok(error.cause instanceof ProtocolError && error.cause.reason === 'malformed')
    return true
  })
})

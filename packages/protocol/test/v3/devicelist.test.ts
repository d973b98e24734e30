import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, encode } from '../../src/codec.ts'
import {
  type AccountId,
  accountIdOf,
  continueList,
  type DeviceId,
  type DeviceList,
  Hash,
  type ListChange,
  ListEntry,
  type ListEntryBody,
  limits,
  listHashOf,
  PublicKey,
  readList,
} from '../../src/v3/index.ts'
import {
  account,
  certificate,
  changes,
  creation,
  deviceId,
  entryBy,
  holds,
  key,
  keys,
  keysOf,
  nextBody,
  sha256,
  unsigned,
  withUnsigned,
} from './lists.ts'

const badList = { name: 'ProtocolError', reason: 'bad-list' }
const begun = withUnsigned(undefined, creation)

function refused(list: DeviceList | undefined, content: ListEntryBody, because: string): void {
  assert.throws(() => continueList(list, unsigned(content), sha256), { ...badList, message: because })
}

function idsOf({ devices }: DeviceList): readonly DeviceId[] {
  return devices.map(({ device }) => device)
}

/** A list with one device more for each number. */
function withDevices(list: DeviceList, ...numbers: readonly number[]): DeviceList {
  return numbers.reduce((from, number) => withUnsigned(from, nextBody(from, added(number))), list)
}

const added = (number: number): ListChange => ({ kind: 'add', body: { device: certificate(number) } })
const removed = (number: number): ListChange => ({ kind: 'remove', body: { device: deviceId(number) } })
const manager = (seed: number): ListChange => ({ kind: 'manager', body: { managerKey: key(seed).publicKey } })
const recovered = (keep: readonly number[], device?: number): ListChange => ({
  kind: 'recover',
  body: {
    managerKey: keys.laterManager.publicKey,
    keep: keep.map(deviceId),
    device: device === undefined ? undefined : certificate(device),
  },
})

describe('a device list', () => {
  test('begins with its account, its keys and its first device, signed by all three of them', () => {
    const entry = entryBy(keys.account, creation)
    const { list, checks } = continueList(undefined, entry, sha256)
    const { name, serverKey, accountKey, managerKey, device } = creation.change.body
    assert.deepEqual(list, {
      account: accountIdOf(accountKey, sha256),
      name,
      serverKey,
      accountKey,
      managerKey,
      version: 1,
      hash: listHashOf(entry, sha256),
      devices: [{ ...device, since: 1 }],
      formerDevices: [],
      managerEntries: 0,
      isClosed: false,
    })
    const { signing, requesting } = keysOf(0)
    assert.deepEqual(
      checks.map((check) => check.key),
      [keys.account, signing, requesting].map(({ publicKey }) => publicKey),
    )
    assert.ok(checks.every(holds))
  })

  test('is what its entries make of it, one after the other', () => {
    const entries = [entryBy(keys.account, creation)]
    const steps = [
      [keys.manager, added(1)],
      [keys.account, added(2)],
      [keys.manager, removed(0)],
      [keys.manager, manager(5)],
      [key(5), added(3)],
      [keys.account, recovered([3], 4)],
    ] as const
    for (const [signer, change] of steps) {
      const by = signer === keys.account ? 'account' : 'manager'
      entries.push(entryBy(signer, nextBody(readList(entries, sha256).list, change, by)))
    }
    const { list, checks } = readList(entries, sha256)
    assert.deepEqual(
      list.devices.map(({ device, since }) => [device, since]),
      [
        [deviceId(3), 6],
        [deviceId(4), 7],
      ],
    )
    assert.deepEqual(list.formerDevices, [0, 1, 2].map(deviceId))
    assert.deepEqual(list.managerKey, keys.laterManager.publicKey)
    assert.deepEqual([list.version, list.managerEntries], [7, 4])
    assert.deepEqual(list.hash, listHashOf(entries.at(-1) ?? new Uint8Array(), sha256))
    assert.equal(checks.length, 7 + 2 * 5)
    assert.ok(checks.every(holds))
  })

  test('S03: each change depends on a signature over its very bytes, by the key that may make it', () => {
    const cases = [
      ['manager', changes.add, keys.manager],
      ['manager', changes.remove, keys.manager],
      ['manager', changes.manager, keys.manager],
      ['account', changes.manager, keys.account],
      ['account', changes.recover, keys.account],
      ['account', changes.close, keys.account],
    ] as const
    for (const [signer, change, { publicKey }] of cases) {
      const entry = unsigned(nextBody(begun, change, signer))
      const [check] = continueList(begun, entry, sha256).checks
      assert.deepEqual(check?.key, publicKey)
      assert.deepEqual(check?.signature, entry.slice(-64))
      assert.deepEqual(check?.message, Uint8Array.from([...Buffer.from('messageu/list/1\0'), ...entry.slice(4, -64)]))
    }
  })

  test('names what both keys of a new device have to have signed', () => {
    for (const change of [added(7), recovered([], 7)]) {
      const signer = change.kind === 'recover' ? 'account' : 'manager'
      const { checks } = continueList(begun, unsigned(nextBody(begun, change, signer)), sha256)
      const { signing, requesting } = keysOf(7)
      assert.deepEqual(
        checks.slice(1).map((check) => check.key),
        [signing.publicKey, requesting.publicKey],
      )
      assert.ok(checks.slice(1).every(holds))
    }
  })

  test('stays as it was when it is continued', () => {
    const before = structuredClone(begun)
    for (const change of Object.values(changes))
      continueList(begun, unsigned(nextBody(begun, change, 'account')), sha256)
    assert.deepEqual(begun, before)
  })

  test('has at least one entry', () => {
    assert.throws(() => readList([], sha256), { ...badList, message: 'a device list has at least one entry' })
  })
})

describe('the first entry of a device list', () => {
  const beginning = 'a list begins with its creation'

  test('creates it', () => {
    for (const change of Object.values(changes)) refused(undefined, { ...creation, change }, beginning)
  })

  test('is by the account key', () => refused(undefined, { ...creation, signer: 'manager' }, beginning))

  test('has the version 1', () => {
    for (const version of [0, 2, 2 ** 32 - 1]) refused(undefined, { ...creation, version }, beginning)
  })

  test('has nothing before it', () => {
    for (const at of [0, 31]) {
      const previous = decode(Hash, new Uint8Array(32).with(at, 1))
      refused(undefined, { ...creation, previous }, 'nothing comes before the first entry')
    }
  })

  test('S01: is of the account whose key it names', () => {
    const other = { ...creation.change.body, accountKey: key(9).publicKey }
    const because = 'the account id belongs to another account key'
    refused(undefined, { ...creation, change: { kind: 'create', body: other } }, because)
    refused(undefined, { ...creation, account: account.with(31, 0) as AccountId }, because)
  })

  test('names the account', () => {
    const change = { kind: 'create', body: { ...creation.change.body, name: 'a' } } as const
    assert.throws(() => withUnsigned(undefined, { ...creation, change }), { reason: 'bad-name' })
  })

  test('adds a device with two keys', () => {
    const { signing } = keysOf(0)
    const device = certificate(0, { signing, requesting: signing })
    const change = { kind: 'create', body: { ...creation.change.body, device } } as const
    refused(undefined, { ...creation, change }, 'a device has two keys')
  })
})

describe('an entry of a device list', () => {
  const next = nextBody(begun, changes.add)

  test('is of the same account', () => {
    refused(begun, { ...next, account: account.with(0, 0) as AccountId }, 'the entry belongs to another account')
  })

  test('S03: has the version that follows', () => {
    for (const version of [0, 1, 3]) refused(begun, { ...next, version }, `version ${version} follows version 1`)
  })

  test('S01: continues exactly this list', () => {
    const other = withUnsigned(undefined, {
      ...creation,
      change: { kind: 'create', body: { ...creation.change.body, name: 'bob' } },
    })
    refused(begun, { ...next, previous: other.hash }, 'the entry continues another list')
  })

  test('is named by the hash of all of it, its signature included', () => {
    const { signature, body } = decode(ListEntry, unsigned(next))
    const one = unsigned(next)
    const other = encode(ListEntry, { body, signature: signature.with(63, 1) as typeof signature })
    assert.notDeepEqual(continueList(begun, one, sha256).list.hash, continueList(begun, other, sha256).list.hash)
  })

  test('does not create the list again', () => {
    for (const signer of ['account', 'manager'] as const)
      refused(begun, nextBody(begun, creation.change, signer), 'a list is created once')
  })

  test('W05: has one form', () => {
    const entry = unsigned(next)
    for (const wire of [Uint8Array.of(...entry, 0), entry.subarray(1), entry.with(0, (entry[0] ?? 0) + 1)])
      assert.throws(() => continueList(begun, wire, sha256), { reason: 'malformed' })
    const body = encode(ListEntry, { ...decode(ListEntry, entry), body: Uint8Array.of(...entry.slice(4, -64), 0) })
    assert.throws(() => continueList(begun, body, sha256), { reason: 'malformed' })
  })
})

describe('a device', () => {
  test('is added once', () => {
    refused(begun, nextBody(begun, added(0)), 'a device is added once')
    refused(begun, nextBody(begun, recovered([0], 0), 'account'), 'a device is added once')
  })

  test('that was taken off never comes back', () => {
    const two = withDevices(begun, 1)
    const without = withUnsigned(two, nextBody(two, removed(1)))
    refused(without, nextBody(without, added(1)), 'a device is added once')
    refused(without, nextBody(without, recovered([0], 1), 'account'), 'a device is added once')
    const recovery = withUnsigned(two, nextBody(two, recovered([0]), 'account'))
    refused(recovery, nextBody(recovery, added(1)), 'a device is added once')
    refused(begun, nextBody(begun, recovered([], 0), 'account'), 'a device is added once')
  })

  test('has two keys', () => {
    const { signing } = keysOf(5)
    const device = certificate(5, { signing, requesting: signing })
    refused(begun, nextBody(begun, { kind: 'add', body: { device } }), 'a device has two keys')
  })

  test('that is not on the list cannot be taken off', () => {
    refused(begun, nextBody(begun, removed(1)), 'the entry names a device that is not on the list, or one twice')
    const two = withDevices(begun, 1)
    const without = withUnsigned(two, nextBody(two, removed(1)))
    refused(without, nextBody(without, removed(1)), 'the entry names a device that is not on the list, or one twice')
  })

  test(`is one of at most ${limits.devicesPerAccountMax}`, () => {
    const full = withDevices(begun, ...Array.from({ length: limits.devicesPerAccountMax - 1 }, (_, i) => i + 1))
    assert.equal(full.devices.length, limits.devicesPerAccountMax)
    refused(full, nextBody(full, added(20)), `more than ${limits.devicesPerAccountMax} devices`)
    const all = full.devices.map((_, number) => number)
    refused(full, nextBody(full, recovered(all, 20), 'account'), `more than ${limits.devicesPerAccountMax} devices`)
    const fewer = withUnsigned(full, nextBody(full, removed(3)))
    assert.equal(withDevices(fewer, 20).devices.length, limits.devicesPerAccountMax)
  })
})

describe('a recovery', () => {
  const three = withDevices(begun, 1, 2)

  test('is by the account key', () => {
    refused(three, nextBody(three, recovered([])), 'only the account key recovers an account')
  })

  test('keeps the devices that it names, and no other', () => {
    const { devices, formerDevices } = withUnsigned(three, nextBody(three, recovered([2, 0], 7), 'account'))
    assert.deepEqual(idsOf({ ...three, devices }), [0, 2, 7].map(deviceId))
    assert.deepEqual(formerDevices, [deviceId(1)])
    assert.deepEqual(idsOf(withUnsigned(three, nextBody(three, recovered([]), 'account'))), [])
  })

  test('names only devices on the list, and each once', () => {
    for (const keep of [[7], [0, 0], [0, 1, 2, 7], [0, 1, 2, 2]])
      refused(
        three,
        nextBody(three, recovered(keep), 'account'),
        'the entry names a device that is not on the list, or one twice',
      )
  })

  test('takes the list from whoever has the manager key', () => {
    const { managerKey } = withUnsigned(three, nextBody(three, recovered([0]), 'account'))
    assert.deepEqual(managerKey, keys.laterManager.publicKey)
    const same = { ...changes.recover, body: { ...changes.recover.body, managerKey: three.managerKey } }
    refused(three, nextBody(three, same, 'account'), 'whoever has the present manager key would keep it')
  })
})

describe('the end of an account', () => {
  test('is by the account key, and leaves no device', () => {
    refused(begun, nextBody(begun, changes.close), 'only the account key ends an account')
    const closed = withUnsigned(begun, nextBody(begun, changes.close, 'account'))
    assert.ok(closed.isClosed)
    assert.deepEqual([closed.devices, closed.formerDevices], [[], [deviceId(0)]])
  })

  test('is the last entry', () => {
    const closed = withUnsigned(begun, nextBody(begun, changes.close, 'account'))
    for (const change of [added(1), changes.recover, changes.close])
      refused(closed, nextBody(closed, change, 'account'), 'the account has ended')
  })
})

describe('the length of a device list', () => {
  /** So many entries more, by one signer. */
  function grown(list: DeviceList, count: number, signer: ListEntryBody['signer']): DeviceList {
    let longer = list
    for (let i = 0; i < count; i++) {
      const managerKey = decode(PublicKey, Uint8Array.of(...new Uint8Array(30), i >> 8, i & 255))
      longer = withUnsigned(longer, nextBody(longer, { kind: 'manager', body: { managerKey } }, signer))
    }
    return longer
  }
  const { managerEntriesMax, listEntriesMax } = limits

  test('leaves room for the words, whatever manager keys have signed', () => {
    const filled = grown(begun, managerEntriesMax, 'manager')
    refused(filled, nextBody(filled, changes.add), 'the rest of the list is for the account key')
    const recovery = withUnsigned(filled, nextBody(filled, recovered([0], 7), 'account'))
    refused(recovery, nextBody(recovery, added(8)), 'the rest of the list is for the account key')
    const full = grown(recovery, listEntriesMax - managerEntriesMax - 2, 'account')
    assert.equal(full.version, listEntriesMax)
    for (const signer of ['account', 'manager'] as const)
      refused(full, nextBody(full, changes.add, signer), 'the list is full')
  })

  test('ends for manager keys as well, when the words have filled it', () => {
    const full = grown(begun, listEntriesMax - 1, 'account')
    assert.equal(full.managerEntries, 0)
    refused(full, nextBody(full, changes.add), 'the list is full')
  })
})

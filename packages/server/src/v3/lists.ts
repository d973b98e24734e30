import { decode, ProtocolError } from '@messageu/protocol'
import {
  continueList,
  type DeviceId,
  type DeviceList,
  type Hash,
  type ListChange,
  ListEntry,
  ListEntryBody,
  listHashOf,
  RefusedError,
} from '@messageu/protocol/v3'
import type { ObjectChange } from '../archive.ts'
import {
  deviceObjects,
  encodeAccount,
  encodeDevice,
  entryKey,
  type KnownAccount,
  type KnownDevice,
  knownDevice,
} from './accountrecords.ts'
import { turnOfAccount, turnOfDevice } from './accounts.ts'
import type { DirectoryParts } from './directoryparts.ts'
import { endedName } from './names.ts'
import { turnOfPackages } from './packages.ts'
import type { Account } from './services.ts'
import { mustHoldAll, sha256 } from './signatures.ts'

/**
 * Continues a device list by compare-and-swap; resolves with the devices that came off it. An entry that stands on the
 * list already changes nothing. Protocol 3 §5.3.
 */
export async function append(
  parts: DirectoryParts,
  account: KnownAccount,
  entry: Uint8Array,
): Promise<{ isNew: boolean; delisted: readonly KnownDevice[] }> {
  const body = decode(ListEntryBody, decode(ListEntry, entry).body)
  const added = deviceIn(body.change)
  const turns = [turnOfAccount(account.id), turnOfPackages(account)]
  if (added !== undefined) turns.push(turnOfDevice(added))
  return parts.turns.take(turns, async () => {
    if (await stands(parts, account, body.version, entry)) return { isNew: false, delisted: [] }
    mustContinue(account.list, body)
    const { list, checks } = continueList(account.list, entry, sha256)
    if (added !== undefined && (await parts.archive.get('device', added)) !== undefined)
      throw new RefusedError('bad-list', 'the id of the device is in use')
    mustHoldAll(checks)
    return { isNew: true, delisted: await take(parts, account, list, entry) }
  })
}

/** The entries behind a version, as far as they are part of `account.list`. */
export async function entriesAfter(
  { archive }: DirectoryParts,
  account: Account,
  after: number,
  limit: number,
): Promise<readonly Uint8Array[]> {
  const from = entryKey(account.id, after)
  const found = await archive.scan('listEntry', { prefix: account.id, after: from, limit })
  return found.slice(0, Math.max(0, account.list.version - after)).map(({ value }) => value)
}

/** What is answered when an entry stands on its list. */
export function appended(entry: Uint8Array): { version: number; hash: Hash } {
  const { version } = decode(ListEntryBody, decode(ListEntry, entry).body)
  return { version, hash: listHashOf(entry, sha256) }
}

function deviceIn(change: ListChange): DeviceId | undefined {
  return change.kind === 'add' || change.kind === 'recover' ? change.body.device?.device : undefined
}

async function stands(
  { archive }: DirectoryParts,
  { id, list }: KnownAccount,
  version: number,
  entry: Uint8Array,
): Promise<boolean> {
  if (version > list.version) return false
  const standing = await archive.get('listEntry', entryKey(id, version))
  return standing !== undefined && Buffer.compare(standing, entry) === 0
}

function mustContinue({ account, version, hash }: DeviceList, entry: ListEntryBody): void {
  if (Buffer.compare(entry.account, account) !== 0)
    throw new ProtocolError('bad-list', 'the entry belongs to another account')
  if (entry.version === version + 1 && Buffer.compare(entry.previous, hash) === 0) return
  throw new RefusedError('stale-list', `the list is at version ${version}`, {
    current: { kind: 'list', body: { version, hash } },
  })
}

async function take(
  { archive, accounts, numbers, packages }: DirectoryParts,
  account: KnownAccount,
  list: DeviceList,
  entry: Uint8Array,
): Promise<readonly KnownDevice[]> {
  // what stays on a list stays the same object
  const staying = account.devices.filter(({ certificate }) => list.devices.includes(certificate))
  const delisted = account.devices.filter((device) => !staying.includes(device))
  const dropped = await packages.clear(delisted)

  const changes: ObjectChange[] = []
  const devices = list.devices.map((certificate) => {
    const known = staying.find((device) => device.certificate === certificate)
    if (known !== undefined) return known
    const { number, change } = numbers.next('device')
    const device = knownDevice(account, { number, certificate })
    changes.push(change, ...deviceObjects(device))
    return device
  })
  for (const device of delisted)
    changes.push({ kind: 'device', key: device.id, value: encodeDevice({ ...device, isListed: false }) })
  if (list.isClosed) changes.push(...endedName(account))
  changes.push({ kind: 'account', key: account.id, value: encodeAccount({ ...account, list, devices }) })
  changes.push({ kind: 'listEntry', key: entryKey(account.id, list.version), value: entry })
  await archive.step({ objects: [...changes, ...dropped.objects] })

  account.list = list
  account.devices = devices
  for (const device of devices) if (!staying.includes(device)) accounts.addDevice(device)
  for (const device of delisted) {
    device.isListed = false
    accounts.keepFormer(device)
  }
  dropped.settle()
  return delisted
}

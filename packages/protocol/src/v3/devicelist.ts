import { decode, encode } from '../codec.ts'
import { ProtocolError } from '../errors.ts'
import { contexts, inContext } from './context.ts'
import { DeviceBinding, type DeviceCertificate, ListEntry, ListEntryBody } from './identity.ts'
import type { AccountId, DeviceId, Hash, PublicKey, Signature } from './ids.ts'
import { limits } from './limits.ts'
import { type AccountName, accountName } from './name.ts'

/** What a device list says once it is read. §4.3 */
export interface DeviceList {
  readonly account: AccountId
  readonly name: AccountName
  readonly serverKey: PublicKey
  readonly accountKey: PublicKey
  readonly managerKey: PublicKey
  readonly version: number
  /** Of the newest entry. */
  readonly hash: Hash
  readonly devices: readonly ListedDevice[]
  /** Devices that were on the list once; their ids are never used again. */
  readonly formerDevices: readonly DeviceId[]
  readonly managerEntries: number
  readonly isClosed: boolean
}

export interface ListedDevice extends DeviceCertificate {
  /** The version that added it. */
  readonly since: number
}

/** A signature that has to hold for the list to be what it says. */
export interface SignatureCheck {
  readonly key: PublicKey
  readonly message: Uint8Array
  readonly signature: Signature
}

export type Sha256 = (bytes: Uint8Array) => Uint8Array

/** The id that belongs to an account key. §4.1 */
export function accountIdOf(accountKey: PublicKey, sha256: Sha256): AccountId {
  return sha256(inContext(contexts.account, accountKey)) as AccountId // the hash is the id, by definition
}

/** What the next entry names as the one before it. §4.3 */
export function listHashOf(entry: Uint8Array, sha256: Sha256): Hash {
  return sha256(inContext(contexts.listHash, entry)) as Hash // the hash is the name, by definition
}

/**
 * Continues a device list by the next entry, or begins one. Pure: the signatures that it depends on come back for the
 * caller to check, and the list means nothing until all of them hold. Throws `bad-list`, `bad-name` or `malformed`. §4.3
 */
export function continueList(
  list: DeviceList | undefined,
  entry: Uint8Array,
  sha256: Sha256,
): { list: DeviceList; checks: readonly SignatureCheck[] } {
  const { body, signature } = decode(ListEntry, entry)
  const parsed = decode(ListEntryBody, body)
  const message = inContext(contexts.listEntry, body)
  const hash = listHashOf(entry, sha256)
  if (list === undefined) return begin(parsed, { hash, message, signature }, sha256)

  mustHold(!list.isClosed, 'the account has ended')
  mustHold(same(parsed.account, list.account), 'the entry belongs to another account')
  mustHold(parsed.version === list.version + 1, `version ${parsed.version} follows version ${list.version}`)
  mustHold(same(parsed.previous, list.hash), 'the entry continues another list')
  const byManager = parsed.signer === 'manager'
  const managerEntries = list.managerEntries + (byManager ? 1 : 0)
  mustHold(parsed.version <= limits.listEntriesMax, 'the list is full')
  mustHold(managerEntries <= limits.managerEntriesMax, 'the rest of the list is for the account key')
  const key = byManager ? list.managerKey : list.accountKey
  const changed = change(list, parsed)
  return {
    list: { ...list, ...changed.list, version: parsed.version, hash, managerEntries },
    checks: [{ key, message, signature }, ...changed.checks],
  }
}

/** A whole list from its first entry on. §4.3 */
export function readList(
  entries: readonly Uint8Array[],
  sha256: Sha256,
): { list: DeviceList; checks: readonly SignatureCheck[] } {
  const checks: SignatureCheck[] = []
  let list: DeviceList | undefined
  for (const entry of entries) {
    const next = continueList(list, entry, sha256)
    list = next.list
    checks.push(...next.checks)
  }
  if (list === undefined) throw new ProtocolError('bad-list', 'a device list has at least one entry')
  return { list, checks }
}

type Changed = { list: Partial<DeviceList>; checks: readonly SignatureCheck[] }
type Signed = { hash: Hash; message: Uint8Array; signature: Signature }

function begin(parsed: ListEntryBody, { hash, message, signature }: Signed, sha256: Sha256) {
  const { account, version, previous, signer, change } = parsed
  mustHold(change.kind === 'create' && signer === 'account' && version === 1, 'a list begins with its creation')
  mustHold(
    previous.every((byte) => byte === 0),
    'nothing comes before the first entry',
  )
  const { name, serverKey, accountKey, managerKey, device } = change.body
  mustHold(same(account, accountIdOf(accountKey, sha256)), 'the account id belongs to another account key')
  const list: DeviceList = {
    account,
    name: accountName(name),
    serverKey,
    accountKey,
    managerKey,
    version,
    hash,
    devices: [{ ...device, since: version }],
    formerDevices: [],
    managerEntries: 0,
    isClosed: false,
  }
  return { list, checks: [{ key: accountKey, message, signature }, ...countersignatures(list, device)] }
}

function change(list: DeviceList, { signer, version, change }: ListEntryBody): Changed {
  switch (change.kind) {
    case 'create':
      throw badList('a list is created once')
    case 'add':
      return added(list, change.body.device, version, list.devices)
    case 'remove':
      return { list: without(list, (device) => !same(device, change.body.device), 1), checks: [] }
    case 'manager':
      return { list: { managerKey: change.body.managerKey }, checks: [] }
    case 'recover': {
      mustHold(signer === 'account', 'only the account key recovers an account')
      const { managerKey, keep, device } = change.body
      mustHold(!same(managerKey, list.managerKey), 'whoever has the present manager key would keep it')
      const kept = without(list, (each) => keep.some((id) => same(id, each)), list.devices.length - keep.length)
      const next = { ...list, ...kept }
      if (device === undefined) return { list: { ...kept, managerKey }, checks: [] }
      const { list: grown, checks } = added(next, device, version, next.devices)
      return { list: { ...kept, ...grown, managerKey }, checks }
    }
    case 'close':
      mustHold(signer === 'account', 'only the account key ends an account')
      return { list: { ...without(list, () => false, list.devices.length), isClosed: true }, checks: [] }
  }
}

function added(list: DeviceList, device: DeviceCertificate, since: number, before: readonly ListedDevice[]): Changed {
  const known = [...list.devices.map((each) => each.device), ...list.formerDevices]
  mustHold(!known.some((id) => same(id, device.device)), 'a device is added once')
  const devices = [...before, { ...device, since }]
  mustHold(devices.length <= limits.devicesPerAccountMax, `more than ${limits.devicesPerAccountMax} devices`)
  return { list: { devices }, checks: countersignatures(list, device) }
}

/** The list without the devices that `stays` does not name; there have to be `leaving` of them. */
function without(list: DeviceList, stays: (device: DeviceId) => boolean, leaving: number): Partial<DeviceList> {
  const devices = list.devices.filter(({ device }) => stays(device))
  const gone = list.devices.filter(({ device }) => !stays(device)).map(({ device }) => device)
  mustHold(gone.length === leaving, 'the entry names a device that is not on the list, or one twice')
  return { devices, formerDevices: [...list.formerDevices, ...gone] }
}

function countersignatures({ account, serverKey }: DeviceList, certificate: DeviceCertificate): SignatureCheck[] {
  const { device, signatureKey, requestKey, bySignatureKey, byRequestKey } = certificate
  mustHold(!same(signatureKey, requestKey), 'a device has two keys')
  const binding = encode(DeviceBinding, { account, serverKey, device, signatureKey, requestKey })
  const message = inContext(contexts.device, binding)
  return [
    { key: signatureKey, message, signature: bySignatureKey },
    { key: requestKey, message, signature: byRequestKey },
  ]
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i])
}

function badList(what: string): ProtocolError {
  return new ProtocolError('bad-list', what)
}

function mustHold(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw badList(otherwise)
}

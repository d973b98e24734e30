import {
  bool,
  type Codec,
  decode,
  encode,
  type Infer,
  list,
  mapped,
  optional,
  struct,
  text,
  u32,
  u64,
} from '@messageu/protocol'
import {
  AccountId,
  type AccountName,
  ConversationId,
  DeviceCertificate,
  DeviceId,
  Hash,
  type ListedDevice,
  limits,
  PublicKey,
} from '@messageu/protocol/v3'
import type { ObjectChange } from '../archive.ts'
import { DamagedStorage } from '../storage/damage.ts'
import { numberKey } from './numbers.ts'
import type { Account, Device } from './services.ts'

/** An account with what the directory alone may change, in place and once it is durable. */
export interface KnownAccount extends Account {
  list: Account['list']
  devices: readonly KnownDevice[]
  isDisabled: boolean
  quotaBytes: number
  /** The conversation that came into being with it. */
  readonly ownDevices: ConversationId
}

export interface KnownDevice extends Device {
  readonly account: KnownAccount
  readonly certificate: ListedDevice
  isListed: boolean
}

const Listed = mapped(struct({ certificate: DeviceCertificate, since: u32 }), {
  from: ({ certificate, since }): ListedDevice => ({ ...certificate, since }),
  to: (listed) => ({ certificate: listed, since: listed.since }),
})

/** An account as it is kept, with what its list says by now: nobody reads the entries for it. */
const AccountRecord = struct({
  number: u64,
  isAdmin: bool,
  isDisabled: bool,
  quotaBytes: u64,
  createdAt: u64,
  ownDevices: ConversationId,
  name: text({ max: limits.nameBytesMax }),
  serverKey: PublicKey,
  accountKey: PublicKey,
  managerKey: PublicKey,
  version: u32,
  hash: Hash,
  devices: list(struct({ number: u64, certificate: Listed }), { max: limits.devicesPerAccountMax }),
  formerDevices: list(DeviceId, { max: limits.listEntriesMax }), // each entry adds one device at most
  managerEntries: u32,
  isClosed: bool,
})

/** A device. Its certificate stands with its account while it is listed, and here afterwards. */
const DeviceRecord = struct({ number: u64, account: AccountId, former: optional(Listed) })
export type DeviceRecord = Infer<typeof DeviceRecord>

export function encodeAccount(account: KnownAccount): Uint8Array {
  return encode(AccountRecord, { ...account.list, ...account })
}

export function decodeAccount(id: AccountId, bytes: Uint8Array): KnownAccount {
  const { number, isAdmin, isDisabled, quotaBytes, createdAt, ownDevices, devices, ...list } = stored(
    AccountRecord,
    bytes,
  )
  const name = list.name as AccountName // it was one when it was given
  const account: KnownAccount = {
    number,
    id,
    name,
    list: { ...list, name, account: id, devices: devices.map(({ certificate }) => certificate) },
    devices: [],
    isAdmin,
    isDisabled,
    quotaBytes,
    createdAt,
    ownDevices,
  }
  account.devices = devices.map((each) => knownDevice(account, each))
  return account
}

/** A device that is listed. */
export function knownDevice(
  account: KnownAccount,
  { number, certificate }: { number: number; certificate: ListedDevice },
): KnownDevice {
  return { number, id: certificate.device, account, certificate, isListed: true }
}

export function encodeDevice({ number, account, certificate, isListed }: KnownDevice): Uint8Array {
  return encode(DeviceRecord, { number, account: account.id, former: isListed ? undefined : certificate })
}

export function decodeDevice(bytes: Uint8Array): DeviceRecord {
  return stored(DeviceRecord, bytes)
}

/** What a new device is found by. */
export function deviceObjects(device: KnownDevice): ObjectChange[] {
  return [
    { kind: 'device', key: device.id, value: encodeDevice(device) },
    { kind: 'deviceNumber', key: numberKey(device.number), value: device.id },
  ]
}

/** Where an entry of an account's list is kept. */
export function entryKey(account: AccountId, version: number): Uint8Array {
  const key = Buffer.alloc(account.length + 4)
  key.set(account)
  key.writeUInt32BE(version, account.length)
  return key
}

/** What was stored here. Whatever is wrong with it is no fault of the peer who happens to need it. */
export function stored<T>(codec: Codec<T>, bytes: Uint8Array): T {
  try {
    return decode(codec, bytes)
  } catch (error) {
    throw new DamagedStorage('server.db', 'an object of version 3 cannot be read', { cause: error })
  }
}

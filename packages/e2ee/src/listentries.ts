import { decode, encode, ProtocolError } from '@messageu/protocol'
import {
  accountIdOf,
  accountName,
  contexts,
  type DeviceCertificate,
  type DeviceId,
  Hash,
  inContext,
  type ListChange,
  ListEntry,
  ListEntryBody,
  type PublicKey,
} from '@messageu/protocol/v3'
import { sameBytes } from './bytes.ts'
import { certify, type DeviceSecrets } from './device.ts'
import { sha256 } from './hash.ts'
import type { SigningKey } from './signing.ts'
import { continueVerified, type VerifiedList, verifyList } from './verifiedlist.ts'

// Each function gives the bytes of the entry and writes none that readers would refuse: it throws what they would.

/** The first entry: the account with its name at this server, its first manager key and its first device. §4.3 */
export async function createAccount(account: {
  accountKey: SigningKey
  managerKey: PublicKey
  name: string
  serverKey: PublicKey
  device: DeviceSecrets
}): Promise<Uint8Array> {
  const { accountKey, managerKey, serverKey } = account
  const id = accountIdOf(accountKey.publicKey, sha256)
  const name = accountName(account.name)
  const device = await certify(account.device, { account: id, serverKey })
  const change = { name, serverKey, accountKey: accountKey.publicKey, managerKey, device }
  const entry = await signed(accountKey, {
    account: id,
    version: 1,
    previous: nothingBefore,
    signer: 'account',
    change: { kind: 'create', body: change },
  })
  await verifyList([entry])
  return entry
}

export function addDevice(list: VerifiedList, key: SigningKey, device: DeviceCertificate): Promise<Uint8Array> {
  return next(list, key, { kind: 'add', body: { device } })
}

export function removeDevice(list: VerifiedList, key: SigningKey, device: DeviceId): Promise<Uint8Array> {
  return next(list, key, { kind: 'remove', body: { device } })
}

/** From the next entry on another key manages the list. */
export function changeManager(list: VerifiedList, key: SigningKey, managerKey: PublicKey): Promise<Uint8Array> {
  return next(list, key, { kind: 'manager', body: { managerKey } })
}

/** With the words: a new manager key, perhaps a new device, and no other device but those to keep. §4.6 */
export function recoverAccount(
  list: VerifiedList,
  accountKey: SigningKey,
  { managerKey, device, keep = [] }: { managerKey: PublicKey; device?: DeviceCertificate; keep?: readonly DeviceId[] },
): Promise<Uint8Array> {
  return next(list, accountKey, { kind: 'recover', body: { managerKey, keep, device } })
}

/** With the words: the account ends for good. */
export function closeAccount(list: VerifiedList, accountKey: SigningKey): Promise<Uint8Array> {
  return next(list, accountKey, { kind: 'close', body: undefined })
}

const nothingBefore = decode(Hash, new Uint8Array(Hash.max))

async function next(list: VerifiedList, key: SigningKey, change: ListChange): Promise<Uint8Array> {
  const { account, version, hash } = list
  const signer = signerOf(list, key.publicKey)
  const entry = await signed(key, { account, version: version + 1, previous: hash, signer, change })
  await continueVerified(list, [entry])
  return entry
}

async function signed(key: SigningKey, content: ListEntryBody): Promise<Uint8Array> {
  const body = encode(ListEntryBody, content)
  return encode(ListEntry, { body, signature: await key.sign(inContext(contexts.listEntry, body)) })
}

function signerOf({ accountKey, managerKey }: VerifiedList, key: PublicKey): ListEntryBody['signer'] {
  if (sameBytes(key, accountKey)) return 'account'
  if (sameBytes(key, managerKey)) return 'manager'
  throw new ProtocolError('bad-list', 'the key is neither the account key nor the manager key of this list')
}

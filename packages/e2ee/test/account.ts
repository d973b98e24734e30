import { decode, encode } from '@messageu/protocol'
import {
  type AccountId,
  accountIdOf,
  contexts,
  type DeviceCertificate,
  inContext,
  ListEntry,
  ListEntryBody,
  type PublicKey,
} from '@messageu/protocol/v3'
import { sha256 } from '@noble/hashes/sha2.js'
import { certify, type DeviceSecrets, newDevice } from '../src/device.ts'
import { createAccount } from '../src/listentries.ts'
import { newSeed, type RandomBytes, type Secret } from '../src/secret.ts'
import { type SigningKey, signingKey } from '../src/signing.ts'
import { type VerifiedList, verifyList } from '../src/verifiedlist.ts'
import { seeded } from './seeded.ts'

/** A key with the seed that it grew from. */
export interface SeededKey extends SigningKey {
  readonly seed: Secret
}

export async function seededKey(random: RandomBytes): Promise<SeededKey> {
  const seed = newSeed(random)
  return { ...(await signingKey(seed)), seed }
}

/** Everything that belongs to a made-up account; the same for the same name. */
export interface TestAccount {
  readonly id: AccountId
  readonly name: string
  readonly random: RandomBytes
  readonly serverKey: PublicKey
  readonly accountKey: SeededKey
  readonly managerKey: SeededKey
  readonly phone: DeviceSecrets
  /** The first entry of its list. */
  readonly created: Uint8Array
  readonly list: VerifiedList
  /** The certificate of a device at this account. */
  certificateOf(device: DeviceSecrets): Promise<DeviceCertificate>
}

export async function testAccount(name: string): Promise<TestAccount> {
  const random = seeded(`account ${name}`)
  const { publicKey: serverKey } = await seededKey(seeded('server'))
  const accountKey = await seededKey(random)
  const managerKey = await seededKey(random)
  const phone = newDevice(random)
  const created = await createAccount({
    accountKey,
    managerKey: managerKey.publicKey,
    name,
    serverKey,
    device: phone,
  })
  const id = accountIdOf(accountKey.publicKey, sha256)
  return {
    id,
    name,
    random,
    serverKey,
    accountKey,
    managerKey,
    phone,
    created,
    list: await verifyList([created]),
    certificateOf: (device) => certify(device, { account: id, serverKey }),
  }
}

/** An entry that need not be right: signed by `key`, saying what `body` says. */
export async function forge(key: SigningKey, body: ListEntryBody): Promise<Uint8Array> {
  return signBody(key, encode(ListEntryBody, body))
}

/** The same for bytes that need not even be an entry. */
export async function signBody(key: SigningKey, body: Uint8Array): Promise<Uint8Array> {
  return encode(ListEntry, { body, signature: await key.sign(inContext(contexts.listEntry, body)) })
}

/** What an entry says. */
export function bodyOf(entry: Uint8Array): ListEntryBody {
  return decode(ListEntryBody, decode(ListEntry, entry).body)
}

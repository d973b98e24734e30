import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { encode } from '@messageu/protocol'
import {
  type AccountId,
  accountIdOf,
  type ConversationId,
  contexts,
  DeviceBinding,
  type DeviceCertificate,
  type DeviceId,
  type Hash,
  type Invite,
  inContext,
  type ListChange,
  ListEntry,
  ListEntryBody,
  listHashOf,
  type PublicKey,
  type Registration,
  type Signature,
} from '@messageu/protocol/v3'
import { rawPublicKey } from '../../src/v3/identity.ts'
import { sha256 } from '../../src/v3/signatures.ts'

export const random = (count: number): Uint8Array => new Uint8Array(randomBytes(count))
export const newDeviceId = (): DeviceId => random(16) as DeviceId
export const newConversationId = (): ConversationId => random(32) as ConversationId

export interface Key {
  readonly privateKey: KeyObject
  readonly publicKey: PublicKey
}

export function newKey(): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return { privateKey, publicKey: rawPublicKey(publicKey) }
}

export const newServerKey = (): PublicKey => newKey().publicKey

function signed({ privateKey }: Key, message: Uint8Array): Signature {
  return new Uint8Array(sign(null, message, privateKey)) as Signature // Ed25519: 64 bytes
}

const nothingBefore = new Uint8Array(32) as Uint8Array as Hash

/** What a test writes differently from what is right. */
export interface EntryChange {
  readonly version?: number
  readonly previous?: Hash
  readonly account?: AccountId
  readonly key?: Key
}

/** Somebody with an account key: writes the entries of a list as a client would. */
export class Person {
  readonly name: string
  readonly serverKey: PublicKey
  readonly accountKey = newKey()
  managerKey = newKey()
  readonly id: AccountId = accountIdOf(this.accountKey.publicKey, sha256)
  readonly device: DeviceCertificate
  readonly ownDevices = newConversationId()
  /** The entry that made the account. */
  readonly entry: Uint8Array
  #version = 0
  #previous = nothingBefore

  constructor(name: string, serverKey: PublicKey, device: DeviceId = newDeviceId()) {
    this.name = name
    this.serverKey = serverKey
    this.device = this.newDevice(device)
    const body = {
      name,
      serverKey,
      accountKey: this.accountKey.publicKey,
      managerKey: this.managerKey.publicKey,
      device: this.device,
    }
    this.entry = this.next({ kind: 'create', body }, 'account')
  }

  get version(): number {
    return this.#version
  }

  get hash(): Hash {
    return this.#previous
  }

  /** Another first entry of the same account. */
  otherFirst(different: { device?: DeviceCertificate; key?: Key } = {}): Uint8Array {
    const { device = this.newDevice(), key = this.accountKey } = different
    const [accountKey, managerKey] = [this.accountKey.publicKey, newKey().publicKey]
    const body = { name: this.name, serverKey: this.serverKey, accountKey, managerKey, device }
    return this.draft({ kind: 'create', body }, 'account', { version: 1, previous: nothingBefore, key })
  }

  /** The list grows by a new device. */
  adding(device = this.newDevice()): Uint8Array {
    return this.next({ kind: 'add', body: { device } })
  }

  registration(invite?: Invite): Registration {
    return { entry: this.entry, invite, ownDevices: this.ownDevices }
  }

  newDevice(device: DeviceId = newDeviceId()): DeviceCertificate {
    const [signatureKey, requestKey] = [newKey(), newKey()]
    const keys = { signatureKey: signatureKey.publicKey, requestKey: requestKey.publicKey }
    const binding = encode(DeviceBinding, { account: this.id, serverKey: this.serverKey, device, ...keys })
    const message = inContext(contexts.device, binding)
    return { device, ...keys, bySignatureKey: signed(signatureKey, message), byRequestKey: signed(requestKey, message) }
  }

  /** The next entry of the list, which grows by it. */
  next(change: ListChange, signer: 'account' | 'manager' = 'manager'): Uint8Array {
    const entry = this.draft(change, signer)
    this.#version += 1
    this.#previous = listHashOf(entry, sha256)
    return entry
  }

  /** An entry that the list does not grow by. */
  draft(change: ListChange, signer: 'account' | 'manager' = 'manager', different: EntryChange = {}): Uint8Array {
    const body = encode(ListEntryBody, {
      account: different.account ?? this.id,
      version: different.version ?? this.#version + 1,
      previous: different.previous ?? this.#previous,
      signer,
      change,
    })
    const key = different.key ?? (signer === 'account' ? this.accountKey : this.managerKey)
    return encode(ListEntry, { body, signature: signed(key, inContext(contexts.listEntry, body)) })
  }

  /** All other devices go, but those to keep. */
  recovery(device?: DeviceCertificate, keep: readonly DeviceId[] = []): Uint8Array {
    const managerKey = newKey()
    const entry = this.next({ kind: 'recover', body: { managerKey: managerKey.publicKey, keep, device } }, 'account')
    this.managerKey = managerKey
    return entry
  }
}

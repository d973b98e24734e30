import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { decode, encode } from '../../src/codec.ts'
import {
  accountIdOf,
  contexts,
  continueList,
  DeviceBinding,
  type DeviceCertificate,
  DeviceId,
  type DeviceList,
  Hash,
  inContext,
  type ListChange,
  ListEntry,
  ListEntryBody,
  PublicKey,
  Signature,
  type SignatureCheck,
} from '../../src/v3/index.ts'

// Device lists whose keys are the same in every run, so that their bytes are.

export const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest())

export interface Key {
  readonly privateKey: KeyObject
  readonly publicKey: PublicKey
}

/** The key that grows from a seed of 32 equal bytes. */
export function key(seed: number): Key {
  const head = Buffer.from('302e020100300506032b657004220420', 'hex') // RFC 8410 §7
  const der = Buffer.concat([head, Buffer.alloc(32, seed)])
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return { privateKey, publicKey: decode(PublicKey, spki.subarray(-32)) }
}

function signed({ privateKey }: Key, message: Uint8Array): Signature {
  return decode(Signature, sign(null, message, privateKey))
}

export function holds({ key: publicKey, message, signature }: SignatureCheck): boolean {
  const head = Buffer.from('302a300506032b6570032100', 'hex') // RFC 8410 §4
  const spki = createPublicKey({ key: Buffer.concat([head, publicKey]), format: 'der', type: 'spki' })
  return verify(null, message, spki, signature)
}

export const keys = { account: key(1), manager: key(2), laterManager: key(3), server: key(4) }
export const account = accountIdOf(keys.account.publicKey, sha256)

export function deviceId(number: number): DeviceId {
  return decode(DeviceId, Uint8Array.of(...new Uint8Array(14).fill(0xd0), number >> 8, number & 255))
}

/** The two keys of a device, by its number. */
export function keysOf(number: number): { signing: Key; requesting: Key } {
  return { signing: key(10 + 2 * number), requesting: key(11 + 2 * number) }
}

export function certificate(number: number, { signing, requesting } = keysOf(number)): DeviceCertificate {
  const device = deviceId(number)
  const [signatureKey, requestKey] = [signing.publicKey, requesting.publicKey]
  const binding = { account, serverKey: keys.server.publicKey, device, signatureKey, requestKey }
  const message = inContext(contexts.device, encode(DeviceBinding, binding))
  return {
    device,
    signatureKey,
    requestKey,
    bySignatureKey: signed(signing, message),
    byRequestKey: signed(requesting, message),
  }
}

const noHash = decode(Hash, new Uint8Array(32))

/** How a list begins: alice with device 0. */
export const creation = {
  account,
  version: 1,
  previous: noHash,
  signer: 'account',
  change: {
    kind: 'create',
    body: {
      name: 'alice',
      serverKey: keys.server.publicKey,
      accountKey: keys.account.publicKey,
      managerKey: keys.manager.publicKey,
      device: certificate(0),
    },
  },
} as const satisfies ListEntryBody

/** What would continue `list`. */
export function nextBody(
  { account, version, hash }: DeviceList,
  change: ListChange,
  signer: ListEntryBody['signer'] = 'manager',
): ListEntryBody {
  return { account, version: version + 1, previous: hash, signer, change }
}

export function entryBy(signer: Key, content: ListEntryBody): Uint8Array {
  const body = encode(ListEntryBody, content)
  return encode(ListEntry, { body, signature: signed(signer, inContext(contexts.listEntry, body)) })
}

/** The list after one more entry, whose signatures nobody has made. */
export function withUnsigned(list: DeviceList | undefined, content: ListEntryBody): DeviceList {
  return continueList(list, unsigned(content), sha256).list
}

export function unsigned(content: ListEntryBody): Uint8Array {
  const signature = decode(Signature, new Uint8Array(64))
  return encode(ListEntry, { body: encode(ListEntryBody, content), signature })
}

export const changes = {
  add: { kind: 'add', body: { device: certificate(1) } },
  remove: { kind: 'remove', body: { device: deviceId(0) } },
  manager: { kind: 'manager', body: { managerKey: keys.laterManager.publicKey } },
  recover: {
    kind: 'recover',
    body: { managerKey: keys.laterManager.publicKey, keep: [deviceId(0)], device: certificate(1) },
  },
  close: { kind: 'close', body: undefined },
} as const satisfies Record<string, ListChange>

import { bytes, type Infer, list, named, nothing, optional, struct, text, u8, u32, union } from '../codec.ts'
import { AccountId, DeviceId, Hash, PublicKey, Signature } from './ids.ts'
import { limits } from './limits.ts'

/** A device's two keys, countersigned by both over account and server. §4.4 */
export const DeviceCertificate = struct({
  device: DeviceId,
  /** Signs in MLS: the key of the device's leaves. */
  signatureKey: PublicKey,
  /** Proves sessions and authorship. */
  requestKey: PublicKey,
  bySignatureKey: Signature,
  byRequestKey: Signature,
})
export type DeviceCertificate = Infer<typeof DeviceCertificate>

/** What the countersignatures of a certificate are over. §4.4 */
export const DeviceBinding = struct({
  account: AccountId,
  serverKey: PublicKey,
  device: DeviceId,
  signatureKey: PublicKey,
  requestKey: PublicKey,
})
export type DeviceBinding = Infer<typeof DeviceBinding>

export const signers = { account: 1, manager: 2 } as const

/** What an entry does to the list. §4.3 */
export const ListChange = union({
  create: {
    tag: 1,
    body: struct({
      name: text({ max: limits.nameBytesMax }),
      serverKey: PublicKey,
      accountKey: PublicKey,
      managerKey: PublicKey,
      device: DeviceCertificate,
    }),
  },
  add: { tag: 2, body: struct({ device: DeviceCertificate }) },
  remove: { tag: 3, body: struct({ device: DeviceId }) },
  manager: { tag: 4, body: struct({ managerKey: PublicKey }) },
  recover: {
    tag: 5,
    body: struct({
      managerKey: PublicKey,
      keep: list(DeviceId, { max: limits.devicesPerAccountMax }),
      device: optional(DeviceCertificate),
    }),
  },
  /** The account ends: no entry follows, and its name is never given again. */
  close: { tag: 6, body: nothing },
})
export type ListChange = Infer<typeof ListChange>

/** What is signed of an entry. §4.3 */
export const ListEntryBody = struct({
  account: AccountId,
  version: u32,
  /** The hash of the entry before; zeros in the first. */
  previous: Hash,
  signer: named(u8, signers),
  change: ListChange,
})
export type ListEntryBody = Infer<typeof ListEntryBody>

/** One entry of a device list as it is stored and sent. §4.3 */
export const ListEntry = struct({
  body: bytes({ max: limits.listEntryBytesMax - 4 - 64 }),
  signature: Signature,
})
export type ListEntry = Infer<typeof ListEntry>

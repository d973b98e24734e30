import { decode, encode } from '@messageu/protocol'
import {
  type AccountId,
  contexts,
  DeviceBinding,
  type DeviceCertificate,
  DeviceId,
  inContext,
  type PublicKey,
} from '@messageu/protocol/v3'
import { exactly, newSeed, type RandomBytes, type Secret } from './secret.ts'
import { signingKey } from './signing.ts'

/** What makes a device this device; it never leaves it. §4.4 */
export interface DeviceSecrets {
  readonly device: DeviceId
  /** Of the key that signs in MLS. */
  readonly signatureSeed: Secret
  /** Of the key that proves sessions and authorship. */
  readonly requestSeed: Secret
}

export function newDevice(random: RandomBytes): DeviceSecrets {
  return {
    device: decode(DeviceId, exactly(DeviceId.max, random)),
    signatureSeed: newSeed(random),
    requestSeed: newSeed(random),
  }
}

/** The device's public keys, with the signature of each that it belongs to this account at this server. §4.4 */
export async function certify(
  { device, signatureSeed, requestSeed }: DeviceSecrets,
  { account, serverKey }: { account: AccountId; serverKey: PublicKey },
): Promise<DeviceCertificate> {
  const [forMls, forRequests] = await Promise.all([signingKey(signatureSeed), signingKey(requestSeed)])
  const keys = { device, signatureKey: forMls.publicKey, requestKey: forRequests.publicKey }
  const message = inContext(contexts.device, encode(DeviceBinding, { account, serverKey, ...keys }))
  const [bySignatureKey, byRequestKey] = await Promise.all([forMls.sign(message), forRequests.sign(message)])
  return { ...keys, bySignatureKey, byRequestKey }
}

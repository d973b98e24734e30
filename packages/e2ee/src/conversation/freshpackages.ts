import { bytes, decode, encode, type Infer, struct } from '@messageu/protocol'
import { generateKeyPackageWithKey, type KeyPackage, type PrivateKeyPackage } from 'ts-mls'
import { sameBytes } from '../bytes.ts'
import type { VerifiedList } from '../verifiedlist.ts'
import { cryptoOf } from './algorithms.ts'
import { ConversationError } from './errors.ts'
import { capabilities, packageExtensions } from './extensions.ts'
import type { LocalDevice } from './keypackages.ts'
import { limits } from './limits.ts'
import { refOf } from './lists.ts'
import { LeafIdentity, type Lifetime } from './shared.ts'
import type { Suite } from './suites.ts'

const key = bytes({ max: limits.keyPackageBytesMax })
/** What only the device keeps of a key package. */
export const PrivateKeys = struct({ init: key, leaf: key })

/** Keys for a leaf: inside a key package, or for a device that creates a conversation or rejoins one. */
export async function freshPackage(
  { device, signatureSeed }: LocalDevice,
  list: VerifiedList,
  { suite, lifetime, isLastResort = false }: { suite: Suite; lifetime: Lifetime; isLastResort?: boolean },
): Promise<{ publicPackage: KeyPackage; privatePackage: PrivateKeyPackage }> {
  const listed = list.devices.find((each) => sameBytes(each.device, device))
  if (listed === undefined) throw new ConversationError('list', 'the device is not on its own list')
  return generateKeyPackageWithKey(
    { credentialType: 'basic', identity: encode(LeafIdentity, { device, list: refOf(list) }) },
    capabilities,
    unlimited,
    packageExtensions(lifetime, isLastResort),
    { signKey: signatureSeed.reveal(), publicKey: listed.signatureKey },
    await cryptoOf(suite),
  )
}

/** See `packageExtensions`: what the engine knows as the lifetime says nothing here. */
const unlimited = { notBefore: 0n, notAfter: 2n ** 63n - 1n }

export function privateKeysOf(stored: Uint8Array, { signatureSeed }: LocalDevice): PrivateKeyPackage {
  const { init, leaf }: Infer<typeof PrivateKeys> = decode(PrivateKeys, stored)
  return { initPrivateKey: init, hpkePrivateKey: leaf, signaturePrivateKey: signatureSeed.reveal() }
}

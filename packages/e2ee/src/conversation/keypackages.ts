import { encode } from '@messageu/protocol'
import type { AccountId, DeviceId } from '@messageu/protocol/v3'
import { encodeMlsMessage } from 'ts-mls'
import { makeKeyPackageRef } from 'ts-mls/keyPackage.js'
import type { Secret } from '../secret.ts'
import type { SigningKey } from '../signing.ts'
import type { VerifiedList } from '../verifiedlist.ts'
import { cryptoOf } from './algorithms.ts'
import { refusing } from './errors.ts'
import { freshPackage, PrivateKeys } from './freshpackages.ts'
import { readWelcome } from './handshakes.ts'
import { limits } from './limits.ts'
import type { Suite } from './suites.ts'

/** The device as it takes part in conversations. */
export interface LocalDevice {
  readonly account: AccountId
  readonly device: DeviceId
  /** Of the key that signs in MLS. */
  readonly signatureSeed: Secret
  /** Signs what the device writes. */
  readonly requestKey: SigningKey
}

/** A key package to publish, and what only the device keeps of it until a Welcome uses it. */
export interface NewKeyPackage {
  /** What a Welcome calls it. */
  readonly ref: Uint8Array
  readonly isLastResort: boolean
  /** Milliseconds since 1970. */
  readonly notAfter: number
  readonly keyPackage: Uint8Array
  /** Secret. Goes in the same step of the store in which a single-use package is used. */
  readonly privateKeys: Uint8Array
}

/** A key package for others to bring this device into conversations. The list is the device's own, as it knows it. §5.4 */
export async function newKeyPackage(
  self: LocalDevice,
  list: VerifiedList,
  { suite, isLastResort = false, now }: { suite: Suite; isLastResort?: boolean; now: number },
): Promise<NewKeyPackage> {
  const lifetime = { notBefore: Math.max(0, now - limits.clockSkewMs), notAfter: now + limits.packageLifeMsMax }
  const { publicPackage, privatePackage } = await freshPackage(self, list, { suite, isLastResort, lifetime })
  return {
    ref: await makeKeyPackageRef(publicPackage, (await cryptoOf(suite)).hash),
    isLastResort,
    notAfter: lifetime.notAfter,
    keyPackage: encodeMlsMessage({ version: 'mls10', wireformat: 'mls_key_package', keyPackage: publicPackage }),
    privateKeys: encode(PrivateKeys, { init: privatePackage.initPrivateKey, leaf: privatePackage.hpkePrivateKey }),
  }
}

/** What the Welcome calls the key packages that it is for. */
export async function packagesOf(welcome: Uint8Array): Promise<readonly Uint8Array[]> {
  const { secrets } = await refusing('malformed', 'the Welcome cannot be read', () => readWelcome(welcome))
  return secrets.map(({ newMember }) => newMember.slice())
}

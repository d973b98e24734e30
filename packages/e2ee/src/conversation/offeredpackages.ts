import type { KeyPackage } from 'ts-mls'
import { verifyKeyPackage } from 'ts-mls/keyPackage.js'
import { verifyLeafNodeSignatureKeyPackage } from 'ts-mls/leafNode.js'
import { sameBytes } from '../bytes.ts'
import type { VerifiedList } from '../verifiedlist.ts'
import { cryptoOf } from './algorithms.ts'
import { mustHold, refusing } from './errors.ts'
import { mustBeCapable, readPackageExtensions } from './extensions.ts'
import { readKeyPackage } from './handshakes.ts'
import { claimOf } from './leaves.ts'
import { limits } from './limits.ts'
import { certificateOn, mustContinue } from './lists.ts'
import type { WantedPackage } from './wantedpackages.ts'

/**
 * The key package if its device may be brought in by it. Only the one who adds looks at its time. Throws `malformed`,
 * `other-suite`, `other-account`, `expired`, `long-lived`, `list` or `unverifiable`. §5.4
 */
export async function judgeKeyPackage(offered: Uint8Array, { lists, suite, now }: WantedPackage): Promise<KeyPackage> {
  const keyPackage = await refusing('malformed', 'the key package cannot be read', () => readKeyPackage(offered))
  const crypto = await cryptoOf(suite)
  mustHold(keyPackage.cipherSuite === crypto.name, 'other-suite', 'the key package is of another suite')
  await refusing('malformed', 'what the key package says cannot be read', () => {
    mustBeOfOne(lists, keyPackage)
    mustBeInTime(keyPackage, now)
  })
  const isSigned = await refusing('unverifiable', 'a signature of the key package cannot be verified', async () => {
    const [leaf, whole] = await Promise.all([
      verifyLeafNodeSignatureKeyPackage(keyPackage.leafNode, crypto.signature),
      verifyKeyPackage(keyPackage, crypto.signature),
    ])
    return leaf && whole
  })
  mustHold(isSigned, 'unverifiable', 'a signature of the key package does not hold')
  return keyPackage
}

function mustBeOfOne(lists: readonly VerifiedList[], { leafNode }: KeyPackage): void {
  mustBeCapable(leafNode)
  const { identity, signatureKey } = claimOf(leafNode)
  const list = lists.find(({ account }) => sameBytes(account, identity.list.account))
  mustHold(list !== undefined, 'other-account', 'the key package is of another account')
  mustContinue(list, identity.list)
  certificateOn(list, identity, signatureKey)
}

function mustBeInTime({ extensions }: KeyPackage, now: number): void {
  const { notBefore, notAfter } = readPackageExtensions(extensions).lifetime
  mustHold(notBefore <= now + limits.clockSkewMs && now <= notAfter, 'expired', 'the key package is not good now')
  const longest = limits.packageLifeMsMax + limits.clockSkewMs
  mustHold(notAfter - notBefore <= longest, 'long-lived', 'the key package lives longer than one may')
}

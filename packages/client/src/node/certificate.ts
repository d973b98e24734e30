import { createHash, createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { decode } from '@messageu/protocol'
import { Hash, type PublicKey } from '@messageu/protocol/v3'
import { ClientError } from '../errors.ts'

/** A clock may be wrong by a day before a certificate of the server's own making counts as expired. */
const toleranceMs = 86_400_000

/** SHA-256 of the SubjectPublicKeyInfo (RFC 5280 §4.1). Protocol 3 §3.2 */
export function certificateHash(leaf: X509Certificate): Hash {
  const spki = leaf.publicKey.export({ type: 'spki', format: 'der' })
  return decode(Hash, createHash('sha256').update(spki).digest())
}

/**
 * Whether the server's own key issued this certificate: an Ed25519 signature over all of it, so that the link alone says
 * whom to trust. Its name and its authority do not matter then, its dates do: a key that was stolen from the memory of
 * a server must not last for ever. CONVERSATIONS B 1
 */
export function isIssuedBy(leaf: X509Certificate, serverKey: PublicKey, nowMs: number): boolean {
  const issuer = ed25519(serverKey)
  if (issuer === undefined || !leaf.verify(issuer)) return false
  const from = leaf.validFromDate.getTime() - toleranceMs
  const to = leaf.validToDate.getTime() + toleranceMs
  if (nowMs >= from && nowMs <= to) return true
  throw new ClientError(
    'untrusted-server',
    `the certificate of the server holds from ${leaf.validFrom} to ${leaf.validTo}: it, or the clock of this machine, is wrong`,
  )
}

/** RFC 8410 §4 */
function ed25519(key: PublicKey): KeyObject | undefined {
  const head = Buffer.from('302a300506032b6570032100', 'hex')
  try {
    return createPublicKey({ key: Buffer.concat([head, key]), format: 'der', type: 'spki' })
  } catch {
    return undefined // any 32 bytes may stand in a link
  }
}

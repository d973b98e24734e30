import { decode } from '@messageu/protocol'
import { PublicKey, Signature } from '@messageu/protocol/v3'
import { primitives } from '#primitives'
import { type Secret, seedBytes } from './secret.ts'

/** An Ed25519 key (RFC 8032) that signs and does not show its private half. */
export interface SigningKey {
  readonly publicKey: PublicKey
  sign(message: Uint8Array): Promise<Signature>
}

/** What stands in front of a seed in PKCS #8 (RFC 8410 §7). */
// biome-ignore format: bytes
const pkcs8Head = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20]

/** The key that grows from a seed of 32 bytes. */
export async function signingKey(seed: Secret): Promise<SigningKey> {
  // Node cuts a longer one off and makes a key of it
  if (seed.reveal().length !== seedBytes) throw new Error(`a seed has ${seedBytes} bytes`)
  const pkcs8 = Uint8Array.of(...pkcs8Head, ...seed.reveal())
  const { publicKey, sign } = await primitives.signer(pkcs8)
  pkcs8.fill(0)
  return {
    publicKey: decode(PublicKey, publicKey),
    sign: async (message) => decode(Signature, await sign(message)),
  }
}

/**
 * Whether `signature` is the key's, over `message`.
 *
 * Everybody has to come to the same answer, or one hostile entry would split those who share a list. Platforms alone
 * do not do that: Node refuses points of small order, under which one signature fits many messages; Chromium takes
 * them. Here neither the key nor the first half of the signature may be one, nor be written in any but the canonical
 * way. About the rest both agree: the second half is below the order of the group, and the equation holds without the
 * cofactor (RFC 8032 §5.1.7, compared as bytes).
 */
export async function verifySignature(key: PublicKey, message: Uint8Array, signature: Signature): Promise<boolean> {
  if (!isOrdinaryPoint(key) || !isOrdinaryPoint(signature.subarray(0, 32))) return false
  return primitives.verify(key, message, signature)
}

const fieldPrime = 2n ** 255n - 19n
/** The y of a point of order 8. */
const order8 = 0x5fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n
/** The y of every point whose order divides 8: the neutral element, and those of the orders 2, 4 and 8. */
const smallOrders: ReadonlySet<bigint> = new Set([1n, fieldPrime - 1n, 0n, order8, fieldPrime - order8])

/** Whether y is written canonically and does not belong to a point of small order. RFC 8032 §5.1.2 */
function isOrdinaryPoint(bytes: Uint8Array): boolean {
  let y = 0n
  for (const byte of bytes.toReversed()) y = (y << 8n) | BigInt(byte)
  y &= 2n ** 255n - 1n // the highest bit is the sign of x
  return y < fieldPrime && !smallOrders.has(y)
}

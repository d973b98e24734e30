import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  hash,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import { joined } from '../bytes.ts'
import type { Primitives } from '../primitives.ts'

const tagBytes = 16
const tagged = { authTagLength: tagBytes }
/** What stands in front of an Ed25519 key in SPKI (RFC 8410 §4). */
const spkiHead = Buffer.from('302a300506032b6570032100', 'hex')
/** Keys that are kept in the form that verifies: making it takes a third of the time. */
const keysMax = 256

/**
 * The same on this thread: WebCrypto hands every step to another one and back, which takes several times as long as
 * sealing a message, and longer than signing it. Keys become key objects first: to find out what a key of plain bytes is,
 * Node throws and catches two errors, which takes three times as long as the hash.
 */
export const primitives: Primitives = {
  async signer(pkcs8) {
    const view = Buffer.from(pkcs8.buffer, pkcs8.byteOffset, pkcs8.length) // no copy, which would stay
    const key = createPrivateKey({ key: view, format: 'der', type: 'pkcs8' })
    const spki = createPublicKey(key).export({ format: 'der', type: 'spki' })
    return {
      publicKey: new Uint8Array(spki.subarray(spkiHead.length)),
      sign: async (message) => new Uint8Array(sign(null, message, key)),
    }
  },

  async verify(publicKey, message, signature) {
    return verify(null, message, verifyingKey(publicKey), signature)
  },

  async encrypt({ key, nonce, aad }, plain) {
    const cipher = createCipheriv(algorithmOf(key), createSecretKey(key), nonce, tagged).setAAD(aad)
    return joined(cipher.update(plain), cipher.final(), cipher.getAuthTag())
  },

  async decrypt({ key, nonce, aad }, sealed) {
    if (sealed.length < tagBytes) throw new Error('what is sealed has a tag')
    const decipher = createDecipheriv(algorithmOf(key), createSecretKey(key), nonce, tagged).setAAD(aad)
    decipher.setAuthTag(sealed.subarray(-tagBytes))
    return joined(decipher.update(sealed.subarray(0, -tagBytes)), decipher.final())
  },

  hash: (name, message) => joined(hash(name, message, 'buffer')),

  hmac: (name, key, message) => joined(createHmac(name, createSecretKey(key)).update(message).digest()),
}

/** In the order in which they came. */
const verifying = new Map<string, KeyObject>()

function verifyingKey(publicKey: Uint8Array): KeyObject {
  const name = Buffer.from(publicKey).toString('latin1')
  const known = verifying.get(name)
  if (known !== undefined) return known
  const key = createPublicKey({ key: Buffer.concat([spkiHead, publicKey]), format: 'der', type: 'spki' })
  for (const [oldest] of verifying) {
    if (verifying.size < keysMax) break
    verifying.delete(oldest)
  }
  verifying.set(name, key)
  return key
}

function algorithmOf(key: Uint8Array): 'aes-128-gcm' | 'aes-256-gcm' {
  return key.length === 16 ? 'aes-128-gcm' : 'aes-256-gcm'
}

import { fromBase64url } from '@messageu/protocol/v3'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256, sha512 } from '@noble/hashes/sha2.js'

/** What of AES-GCM does not depend on the text. The tag of 16 bytes stands behind what is sealed. */
export interface Sealing {
  readonly key: Uint8Array
  readonly nonce: Uint8Array
  readonly aad: Uint8Array
}

/** An Ed25519 key that does not show its private half. */
export interface Signer {
  readonly publicKey: Uint8Array
  sign(message: Uint8Array): Promise<Uint8Array>
}

export type HashName = 'sha256' | 'sha512'

/**
 * What is left to the platform, because its time must not depend on keys, or because it is faster there. Imported as `#primitives`: where Node runs this,
 * `node/primitives.ts` stands in its place, and both give the same answers.
 */
export interface Primitives {
  /** A seed in PKCS #8 (RFC 8410 §7). */
  signer(pkcs8: Uint8Array): Promise<Signer>
  /** By the equation alone; which keys and signatures may stand in it is for whoever asks to say. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean>
  encrypt(sealing: Sealing, plain: Uint8Array): Promise<Uint8Array>
  /** Rejects for what was not sealed so. */
  decrypt(sealing: Sealing, sealed: Uint8Array): Promise<Uint8Array>
  hash(name: HashName, message: Uint8Array): Uint8Array
  hmac(name: HashName, key: Uint8Array, message: Uint8Array): Uint8Array
}

const hashes = { sha256, sha512 }

const { subtle } = globalThis.crypto

/**
 * By WebCrypto, whose types want memory that nobody shares: hence the copies. Not so the hashes: it would hand each of them
 * to another thread and back, which costs ten times what is to be done.
 */
export const primitives: Primitives = {
  /** WebCrypto tells the public half of a seed in a JWK only, which repeats the private half as text; it is made once. */
  async signer(pkcs8) {
    const bytes = pkcs8.slice()
    const readable = await subtle.importKey('pkcs8', bytes, 'Ed25519', true, ['sign'])
    const { x = '' } = await subtle.exportKey('jwk', readable)
    const key = await subtle.importKey('pkcs8', bytes, 'Ed25519', false, ['sign'])
    bytes.fill(0)
    return {
      publicKey: fromBase64url(x),
      sign: async (message) => new Uint8Array(await subtle.sign('Ed25519', key, message.slice())),
    }
  },

  async verify(publicKey, message, signature) {
    const key = await importPublic(publicKey.slice())
    return key !== undefined && subtle.verify('Ed25519', key, signature.slice(), message.slice())
  },

  async encrypt({ key: bytes, ...sealing }, plain) {
    const key = await subtle.importKey('raw', bytes.slice(), 'AES-GCM', false, ['encrypt'])
    return new Uint8Array(await subtle.encrypt(gcm(sealing), key, plain.slice()))
  },

  async decrypt({ key: bytes, ...sealing }, sealed) {
    const key = await subtle.importKey('raw', bytes.slice(), 'AES-GCM', false, ['decrypt'])
    return new Uint8Array(await subtle.decrypt(gcm(sealing), key, sealed.slice()))
  },

  hash: (name, message) => hashes[name](message),

  hmac: (name, key, message) => hmac(hashes[name], key, message),
}

function gcm({ nonce, aad }: Omit<Sealing, 'key'>) {
  return { name: 'AES-GCM', iv: nonce.slice(), additionalData: aad.slice() }
}

/** Engines differ in when they notice that no point has these bytes: at the import, or when they verify. */
async function importPublic(key: Uint8Array<ArrayBuffer>) {
  try {
    return await subtle.importKey('raw', key, 'Ed25519', false, ['verify'])
  } catch {
    return undefined
  }
}

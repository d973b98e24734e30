import {
  constants,
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  timingSafeEqual,
} from 'node:crypto'
import { promisify } from 'node:util'
import { decode } from '@messageu/protocol'
import { PublicKey, limits as wire } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'
import { Secret } from './secret.ts'

/**
 * The cryptography of version 2, as it is on the wire: docs/protocol-v2.md §6. It has no authentication and a fixed
 * IV: equal beginnings give equal ciphertexts, and nothing proves who wrote a message. We keep it to speak with the
 * original's clients.
 */
const cipher = 'aes-128-cbc'
export const blockBytes = 16
const zeroIv = new Uint8Array(blockBytes)

/** The exponent 65537 would make the public key 162 bytes, and the field has 160. */
const rsa = { modulusLength: 1024, publicExponent: 17 }

export interface KeyPair {
  readonly publicKey: PublicKey
  readonly privateKey: KeyObject
}

export async function newKeyPair(): Promise<KeyPair> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', rsa)
  return { privateKey, publicKey: publicKeyOf(privateKey) }
}

export function publicKeyOf(privateKey: KeyObject): PublicKey {
  return decode(PublicKey, createPublicKey(privateKey).export({ type: 'spki', format: 'der' }))
}

/** An AES key of 16 bytes. */
export type AesKey = Secret

export function aesKey(bytes: Uint8Array): AesKey {
  if (bytes.length !== blockBytes) throw new Error(`an AES-128 key has 16 bytes, not ${bytes.length}`)
  return new Secret(bytes)
}

export function sameKey(a: AesKey, b: AesKey): boolean {
  return timingSafeEqual(a.reveal(), b.reveal())
}

/** The content of a `key` message. The server hands out 160 bytes that nobody checked: they may be no key at all. */
export function wrapKey(key: AesKey, recipient: PublicKey): Uint8Array {
  return publicEncrypt({ key: rsaKey(recipient), ...oaep }, key.reveal())
}

const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' } as const

function rsaKey(bytes: PublicKey): KeyObject {
  try {
    const key = createPublicKey({ key: Buffer.from(bytes), format: 'der', type: 'spki' })
    if (key.asymmetricKeyType === 'rsa' && key.asymmetricKeyDetails?.modulusLength === rsa.modulusLength) return key
  } catch {
    // falls through to the one failure for every kind of wrong key
  }
  throw new Failure('bad-public-key', {
    what: 'what the server gave as the public key is not an RSA key of 1024 bits',
    advice: 'ask the owner to register again with a working client',
  })
}

/** The AES key in a `key` message, or `undefined` if it was not made for us. */
export function unwrapKey(content: Uint8Array, privateKey: KeyObject): AesKey | undefined {
  if (content.length !== wire.keyContentBytes) return undefined
  try {
    const key = privateDecrypt({ key: privateKey, ...oaep }, content)
    return key.length === blockBytes ? aesKey(key) : undefined
  } catch {
    return undefined
  }
}

/** The size of the ciphertext of `plainBytes` bytes: there is always padding. */
export function sealedBytes(plainBytes: number): number {
  return Math.floor(plainBytes / blockBytes) * blockBytes + blockBytes
}

/** A text travels with one NUL behind it. */
export function sealText(key: AesKey, text: Uint8Array): Uint8Array {
  const sealing = createCipheriv(cipher, key.reveal(), zeroIv)
  return Buffer.concat([sealing.update(text), sealing.update(new Uint8Array(1)), sealing.final()])
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The text in a content, with its NUL or without; `undefined` under another key. */
export function openText(key: AesKey, content: Uint8Array): string | undefined {
  try {
    const opening = createDecipheriv(cipher, key.reveal(), zeroIv)
    const plain = Buffer.concat([opening.update(content), opening.final()])
    return utf8.decode(plain.at(-1) === 0 ? plain.subarray(0, -1) : plain)
  } catch {
    return undefined // wrong padding, or not a text
  }
}

/** The ciphertext of `pieces`; the last of it comes only when they have ended. */
export async function* sealPieces(key: AesKey, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const sealing = createCipheriv(cipher, key.reveal(), zeroIv)
  for await (const piece of pieces) {
    const sealed = sealing.update(piece)
    if (sealed.length > 0) yield sealed
  }
  yield sealing.final()
}

/** The plaintext of `pieces`. Throws at the end if the padding is wrong: until then nothing is known to be right. */
export async function* openPieces(key: AesKey, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const opening = createDecipheriv(cipher, key.reveal(), zeroIv)
  for await (const piece of pieces) {
    const opened = opening.update(piece)
    if (opened.length > 0) yield opened
  }
  const last = opening.final()
  if (last.length > 0) yield last
}

/**
 * Whether the padding of a content is right under `key`, from its last two blocks (or its only one): a wrong key is
 * told in time, whatever the size, but for one in 256.
 */
export function paddingFits(key: AesKey, tail: Uint8Array): boolean {
  const iv = tail.length > blockBytes ? tail.subarray(0, blockBytes) : zeroIv
  try {
    const opening = createDecipheriv(cipher, key.reveal(), iv)
    opening.update(tail.subarray(-blockBytes))
    opening.final()
    return true
  } catch {
    return false
  }
}

import { decode } from '@messageu/protocol'
import { PublicKey, Signature } from '@messageu/protocol/v3'
import {
  type CiphersuiteImpl,
  type CiphersuiteName,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  type Hash,
  type Kdf,
} from 'ts-mls'
import { type HashName, primitives } from '#primitives'
import { joined } from '../bytes.ts'
import { Secret, seedBytes } from '../secret.ts'
import { type SigningKey, signingKey, verifySignature } from '../signing.ts'
import type { Suite } from './suites.ts'

const names: Readonly<Record<Suite, CiphersuiteName>> = {
  x25519: 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519',
  'x-wing': 'MLS_256_XWING_AES256GCM_SHA512_Ed25519',
}
const hashes = { x25519: { name: 'sha256', bytes: 32 }, 'x-wing': { name: 'sha512', bytes: 64 } } as const

/** The suites as the engine calls them. */
export const engineNames: readonly CiphersuiteName[] = Object.values(names)

const loaded = new Map<Suite, Promise<CiphersuiteImpl>>()

/** The algorithms of a suite. Signatures are verified as everywhere else here, so that all come to one answer. */
export function cryptoOf(suite: Suite): Promise<CiphersuiteImpl> {
  const known = loaded.get(suite)
  if (known !== undefined) return known
  const loading = getCiphersuiteImpl(getCiphersuiteFromName(names[suite])).then((found) => ({
    ...found,
    kdf: kdfOf(suite),
    hash: { ...found.hash, digest: digestOf(suite) },
    hpke: { ...found.hpke, ...aead },
    signature: { ...found.signature, sign: signBy(found.signature), verify: verifyStrictly },
  }))
  loaded.set(suite, loading)
  return loading
}

// A message takes six derivations of a few bytes each, and a commit hashes every node of the tree. The engine would have
// WebCrypto do them, one by one.

/** HKDF, RFC 5869 */
function kdfOf(suite: Suite): Kdf {
  const { name, bytes } = hashes[suite]
  return {
    size: bytes,
    extract: async (salt, ikm) => primitives.hmac(name, salt, ikm),
    expand: async (key, info, length) => expand(name, key, { info, length, step: bytes }),
  }
}

function expand(
  hash: HashName,
  key: Uint8Array,
  { info, length, step }: { info: Uint8Array; length: number; step: number },
): Uint8Array {
  if (length > 255 * step) throw new Error('HKDF gives at most 255 times its hash')
  const expanded = new Uint8Array(length)
  let block = new Uint8Array()
  for (let at = 0, count = 1; at < length; at += step, count++) {
    block = Uint8Array.from(primitives.hmac(hash, key, joined(block, info, Uint8Array.of(count))))
    expanded.set(block.subarray(0, length - at), at)
  }
  return expanded
}

function digestOf(suite: Suite): Hash['digest'] {
  return async (data) => primitives.hash(hashes[suite].name, data)
}

const aead: Pick<CiphersuiteImpl['hpke'], 'encryptAead' | 'decryptAead'> = {
  encryptAead: (key, nonce, aad = new Uint8Array(), plain) => primitives.encrypt({ key, nonce, aad }, plain),
  decryptAead: (key, nonce, aad = new Uint8Array(), sealed) => primitives.decrypt({ key, nonce, aad }, sealed),
}

const keys = new WeakMap<Uint8Array, Promise<SigningKey>>()

/**
 * The engine hands over the key with each signature. What grows from a seed, as all keys here are, is made once and goes
 * with the seed; keys that the engine makes are longer.
 */
function signBy(engine: CiphersuiteImpl['signature']): CiphersuiteImpl['signature']['sign'] {
  return async (key, message) => {
    if (key.length !== seedBytes) return engine.sign(key, message)
    const grown = keys.get(key) ?? signingKey(new Secret(key))
    keys.set(key, grown)
    return (await grown).sign(message)
  }
}

/** The suite behind an engine's name; `undefined` for one that we do not use. */
export function suiteNamed(name: string): Suite | undefined {
  if (name === names.x25519) return 'x25519'
  return name === names['x-wing'] ? 'x-wing' : undefined
}

async function verifyStrictly(key: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  if (key.length !== PublicKey.max || signature.length !== Signature.max) return false
  return verifySignature(decode(PublicKey, key), message, decode(Signature, signature))
}

import { decode } from '@messageu/protocol'
import { PublicKey, Signature } from '@messageu/protocol/v3'
import { type CiphersuiteImpl, type CiphersuiteName, getCiphersuiteFromName, getCiphersuiteImpl } from 'ts-mls'
import { verifySignature } from '../signing.ts'
import type { Suite } from './suites.ts'

const names: Readonly<Record<Suite, CiphersuiteName>> = {
  x25519: 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519',
  'x-wing': 'MLS_256_XWING_AES256GCM_SHA512_Ed25519',
}

/** The suites as the engine calls them. */
export const engineNames: readonly CiphersuiteName[] = Object.values(names)

const loaded = new Map<Suite, Promise<CiphersuiteImpl>>()

/** The algorithms of a suite. Signatures are verified as everywhere else here, so that all come to one answer. */
export function cryptoOf(suite: Suite): Promise<CiphersuiteImpl> {
  const known = loaded.get(suite)
  if (known !== undefined) return known
  const loading = getCiphersuiteImpl(getCiphersuiteFromName(names[suite])).then((found) => ({
    ...found,
    signature: { ...found.signature, verify: verifyStrictly },
  }))
  loaded.set(suite, loading)
  return loading
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

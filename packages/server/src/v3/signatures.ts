import { hash, verify } from 'node:crypto'
import { ProtocolError } from '@messageu/protocol'
import type { SignatureCheck } from '@messageu/protocol/v3'
import { keyObject } from './identity.ts'

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(hash('sha256', bytes, 'buffer'))
}

/** Throws `bad-list` unless every signature that a device list depends on holds. Protocol 3 §4.3. */
export function mustHoldAll(checks: readonly SignatureCheck[]): void {
  if (!checks.every(holds)) throw new ProtocolError('bad-list', 'a signature does not hold')
}

function holds({ key, message, signature }: SignatureCheck): boolean {
  try {
    return verify(null, message, keyObject(key), signature)
  } catch {
    return false // not the encoding of a key
  }
}

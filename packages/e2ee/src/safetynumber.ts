import { contexts, type DeviceList, inContext } from '@messageu/protocol/v3'
import { primitives } from '#primitives'
import { compareBytes, sameBytes } from './bytes.ts'

/** What two people compare to know that nobody stands between them. */
export interface SafetyNumber {
  /** 60 digits, the same on both sides. */
  readonly digits: string
  /** The same as bytes, for a QR code. */
  readonly payload: Uint8Array
}

/** The part of an account that the number is about: devices come and go without changing it. */
export type SafetyIdentity = Pick<DeviceList, 'account' | 'accountKey'>

const rounds = 5200
const fingerprintBytes = 32
const groups = 6
const groupBytes = 5
const payloadVersion = 1

/**
 * The safety number of two accounts. Protocol 3 §4.7.
 *
 *     h(0) = SHA-512("messageu/safety/1" ‖ 00 ‖ account id ‖ account key)
 *     h(n) = SHA-512(h(n−1) ‖ account key),  n = 1 … 5200
 *
 * The fingerprint of an account is the first 32 bytes of h(5200); its digits are six groups of five bytes from the
 * start of that, each read as a big-endian number modulo 100 000 and written with five digits. The account whose key
 * comes first in the order of bytes comes first: its 30 digits, then those of the other; in the payload, a byte 01, its
 * fingerprint, then the other one.
 *
 * The rounds make it dear to search for a key with nearly the same digits: 30 digits are about 100 bits.
 */
export function safetyNumber(one: SafetyIdentity, other: SafetyIdentity): SafetyNumber {
  const sorted = [one, other].sort((a, b) => compareBytes(a.accountKey, b.accountKey))
  const fingerprints = sorted.map(fingerprint)
  return {
    digits: fingerprints.map(digitsOf).join(''),
    payload: Uint8Array.of(payloadVersion, ...fingerprints.flatMap((bytes) => [...bytes])),
  }
}

/**
 * What a scanned code says to one's own number: `unreadable` if it is no code of this version. Anything else that is
 * not the `same` is `different`, also where it has nothing in common with one's own: that is what a server that
 * deceives both sides looks like.
 */
export function compareSafetyPayload(own: SafetyNumber, scanned: Uint8Array): 'same' | 'different' | 'unreadable' {
  if (scanned.length !== own.payload.length || scanned[0] !== payloadVersion) return 'unreadable'
  return sameBytes(own.payload, scanned) ? 'same' : 'different'
}

function fingerprint({ account, accountKey }: SafetyIdentity): Uint8Array {
  let hash = primitives.hash('sha512', inContext(contexts.safetyNumber, account, accountKey))
  const input = new Uint8Array(hash.length + accountKey.length)
  input.set(accountKey, hash.length)
  for (let round = 0; round < rounds; round++) {
    input.set(hash)
    hash = primitives.hash('sha512', input)
  }
  return hash.slice(0, fingerprintBytes)
}

function digitsOf(bytes: Uint8Array): string {
  return Array.from({ length: groups }, (_, group) => {
    const number = bytes
      .subarray(group * groupBytes, (group + 1) * groupBytes)
      .reduce((sum, byte) => sum * 256 + byte, 0)
    return String(number % 100_000).padStart(5, '0')
  }).join('')
}

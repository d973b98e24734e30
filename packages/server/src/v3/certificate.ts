import { generateKeyPairSync, hash, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type { Hash } from '@messageu/protocol/v3'
import { bits, context, integer, octets, oid, sequence, set, text, time, yes } from './der.ts'
import type { Random } from './services.ts'

/** What a TLS listener shows, and proves that it owns. */
export interface Certificate {
  /** PEM: the leaf, and perhaps others behind it. */
  readonly chain: string
  /** PEM; in memory only, where the server has made it. */
  readonly privateKey: string
  readonly notAfter: Date
}

const dayMs = 86_400_000
/** The longest that browsers take from an authority; nobody else counts the days. */
const lifetimeMs = 397 * dayMs
/** For clocks that are behind ours. */
const earlierMs = dayMs

const ed25519 = sequence(oid('1.3.101.112'))
const commonName = '2.5.4.3'

export interface CertificateWish {
  /** Signs: the server's own key, which clients know from the link. */
  readonly issuerKey: KeyObject
  /** Names and addresses under which the server is dialled. */
  readonly hosts: readonly string[]
  readonly now: Date
  readonly random: Random
}

/**
 * A certificate (RFC 5280) for a new P-256 key, issued by the server's key: whoever holds that key from a link checks
 * one signature, and TLS libraries that know no Ed25519 in handshakes are served as well.
 */
export function issueCertificate({ issuerKey, hosts, now, random }: CertificateWish): Certificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const notAfter = new Date(now.getTime() + lifetimeMs)
  const toBeSigned = sequence(
    context(0, { isWhole: true }, integer(Uint8Array.of(2))), // version 3
    integer(serialNumber(random)),
    ed25519,
    nameOf('MessageU server key'),
    sequence(time(new Date(now.getTime() - earlierMs)), time(notAfter)),
    nameOf('MessageU server'),
    publicKey.export({ format: 'der', type: 'spki' }),
    context(3, { isWhole: true }, sequence(...extensions(hosts))),
  )
  const der = sequence(toBeSigned, ed25519, bits(sign(null, toBeSigned, issuerKey)))
  return {
    chain: new X509Certificate(der).toString(),
    privateKey: privateKey.export({ format: 'pem', type: 'pkcs8' }) as string, // PEM is text
    notAfter,
  }
}

/** SHA-256 of the public key in a certificate, as session proofs carry it. Protocol 3 §3.3. */
export function certificateHash(certificate: X509Certificate): Hash {
  const spki = certificate.publicKey.export({ format: 'der', type: 'spki' })
  return new Uint8Array(hash('sha256', spki, 'buffer')) as Hash // the hash is the hash, by definition
}

function serialNumber(random: Random): Uint8Array {
  const serial = Uint8Array.from(random(16))
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40 // positive, and of full length
  return serial
}

function nameOf(commonNameText: string): Uint8Array {
  return sequence(set(sequence(oid(commonName), text(commonNameText))))
}

function extensions(hosts: readonly string[]): Uint8Array[] {
  return [
    extension('2.5.29.19', sequence(), { isCritical: true }), // basic constraints: no authority
    extension('2.5.29.15', bits(Uint8Array.of(0x80), 7), { isCritical: true }), // key usage: signatures
    extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.1')), { isCritical: false }), // for: a server
    extension('2.5.29.17', sequence(...hosts.map(subjectName)), { isCritical: false }),
  ]
}

function extension(name: string, value: Uint8Array, { isCritical }: { isCritical: boolean }): Uint8Array {
  return isCritical ? sequence(oid(name), yes, octets(value)) : sequence(oid(name), octets(value))
}

function subjectName(host: string): Uint8Array {
  const version = isIP(host)
  if (version === 0) return context(2, { isWhole: false }, Buffer.from(host, 'latin1'))
  return context(7, { isWhole: false }, version === 4 ? ipv4(host) : ipv6(host))
}

function ipv4(address: string): Uint8Array {
  return Uint8Array.from(address.split('.').map(Number))
}

function ipv6(address: string): Uint8Array {
  const plain = new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname.slice(1, -1) // hexadecimal, shortened
  const [front = '', back] = plain.split('::')
  const groups = (part: string | undefined): string[] => (part === undefined || part === '' ? [] : part.split(':'))
  const missing = 8 - groups(front).length - groups(back).length
  const all = [...groups(front), ...Array.from({ length: missing }, () => '0'), ...groups(back)]
  return Uint8Array.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]))
}

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

/** A certificate with its key, as PEM. */
export interface Issued {
  readonly cert: string
  readonly key: string
  readonly publicKey: KeyObject
}

const der = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts)
  const { length } = body
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Uint8Array.of(tag, ...size), body])
}
const sequence = (...parts: Uint8Array[]): Buffer => der(0x30, ...parts)
const oid = (...bytes: number[]): Buffer => der(0x06, Uint8Array.from(bytes))
const name = (common: string): Buffer =>
  sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(common)))))
const time = (ms: number): Buffer => der(0x18, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '')}`))

const day = 86_400_000

/** A leaf for `host` by an Ed25519 key (RFC 5280 §4.1, RFC 8410), as a server makes it. */
export function issue(
  host: string,
  issuer: KeyObject,
  { from = Date.now() - day, to = Date.now() + day }: { from?: number; to?: number } = {},
): Issued {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return certificate(host, 'issuer', publicKey, privateKey, issuer, { from, to, isAuthority: false })
}

/** An authority of one's own, and what it issues. */
export function authority(): { cert: string; issuer: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const dates = { from: Date.now() - day, to: Date.now() + day, isAuthority: true }
  return { cert: certificate('issuer', 'issuer', publicKey, privateKey, privateKey, dates).cert, issuer: privateKey }
}

function certificate(
  host: string,
  by: string,
  publicKey: KeyObject,
  privateKey: KeyObject,
  issuer: KeyObject,
  { from, to, isAuthority }: { from: number; to: number; isAuthority: boolean },
): Issued {
  const ed25519 = sequence(oid(0x2b, 0x65, 0x70))
  const address = /^[\d.]+$/.test(host) ? der(0x87, Uint8Array.from(host.split('.').map(Number))) : undefined
  const alternative = sequence(oid(0x55, 0x1d, 0x11), der(0x04, sequence(address ?? der(0x82, Buffer.from(host)))))
  const basic = sequence(
    oid(0x55, 0x1d, 0x13),
    der(0x04, sequence(...(isAuthority ? [der(0x01, Uint8Array.of(255))] : []))),
  )
  const body = sequence(
    der(0xa0, der(0x02, Uint8Array.of(2))),
    der(0x02, Uint8Array.of(1, isAuthority ? 1 : 2)),
    ed25519,
    name(by),
    sequence(time(from), time(to)),
    name(host),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(alternative, basic)),
  )
  const signature = der(0x03, Uint8Array.of(0), sign(null, body, issuer))
  const base64 = sequence(body, ed25519, signature)
    .toString('base64')
    .match(/.{1,64}/g)
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${base64?.join('\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey,
  }
}

import { malformed } from '../errors.ts'
import type { Invite, PublicKey } from './ids.ts'
import { limits } from './limits.ts'

/** Where a server is, who it is, and perhaps a place on it. §9 */
export interface Link {
  /** A name or an address as it is dialled; IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly serverKey: PublicKey
  readonly invite: Invite | undefined
}

export const defaultPort = 443

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const values = new Map([...alphabet].map((character, value) => [character, value]))

/** RFC 4648 §5, without padding. */
export function toBase64url(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 3) {
    const group = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0)
    const characters = Math.min(4, bytes.length - at + 1)
    for (let i = 0; i < characters; i++) text += alphabet[(group >> (18 - 6 * i)) & 63]
  }
  return text
}

/** Throws `malformed` for anything that `toBase64url` does not write. */
export function fromBase64url(text: string): Uint8Array {
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4))
  let group = 0
  let bits = 0
  let at = 0
  for (const character of text) {
    const value = values.get(character)
    if (value === undefined) throw malformed('a character that is not base64url')
    group = ((group << 6) | value) & 0xffff
    bits += 6
    if (bits < 8) continue
    bits -= 8
    bytes[at++] = (group >> bits) & 255
  }
  if (toBase64url(bytes) !== text) throw malformed('not base64url of whole bytes')
  return bytes
}

/** Hosts in other scripts are written as they are dialled, in punycode. */
const form = /^(?:messageu|https):\/\/(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?\/#([\w-]+)(?:\/([\w-]+))?$/i

/** The link that `text` is: `messageu://HOST[:PORT]/#KEY[/INVITE]`, also with `https`. Throws `malformed`. §9 */
export function parseLink(text: string): Link {
  if (text.length > limits.linkCharactersMax) throw malformed(`a link of ${text.length} characters`)
  const [, name = '', digits, key = '', invite] = form.exec(text.trim()) ?? []
  if (name === '') throw malformed('a link looks like messageu://HOST[:PORT]/#KEY[/INVITE]')
  const host = name.replace(/^\[|\]$/g, '').toLowerCase()
  const port = digits === undefined ? defaultPort : Number(digits)
  const isHost = name.startsWith('[') === host.includes(':') && name.length <= limits.hostBytesMax - ':65535'.length
  if (!isHost || port < 1 || port > 65_535) throw malformed('no such host or port')
  return {
    host,
    port,
    serverKey: sized(fromBase64url(key), 32) as PublicKey, // any 32 bytes may be a key; a proof tells
    invite: invite === undefined ? undefined : (sized(fromBase64url(invite), 16) as Invite),
  }
}

export function formatLink({ host, port, serverKey, invite }: Link): string {
  const secret = invite === undefined ? '' : `/${toBase64url(invite)}`
  return `messageu://${authorityOf({ host, port })}/#${toBase64url(serverKey)}${secret}`
}

/** Host and port as they are dialled and proved: `example.org`, `example.org:8443`, `[::1]:8080`. §3.2 */
export function authorityOf({ host, port }: Pick<Link, 'host' | 'port'>): string {
  const name = host.includes(':') ? `[${host}]` : host
  return port === defaultPort ? name : `${name}:${port}`
}

function sized(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length !== length) throw malformed(`${bytes.length} bytes where ${length} are due`)
  return bytes
}

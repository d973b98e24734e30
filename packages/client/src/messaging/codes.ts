import { type Codec, decode, encode, ProtocolError, struct, text, u16 } from '@messageu/protocol'
import {
  AccountId,
  DeviceCertificate,
  fromBase64url,
  PublicKey,
  limits as protocol,
  toBase64url,
} from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'

/** What a device that manages an account shows to one that is to join it. */
export const Offer = struct({
  host: text({ max: protocol.hostBytesMax }),
  port: u16,
  serverKey: PublicKey,
  account: AccountId,
})

const kinds = { offer: 'mu-link-', device: 'mu-device-' } as const
const checkBytes = 4

/** A value as text for people to carry from one device to another: its kind, its bytes, and a check of both. */
async function codeOf<T>(kind: keyof typeof kinds, codec: Codec<T>, value: T): Promise<string> {
  const bytes = encode(codec, value)
  return `${kinds[kind]}${toBase64url(Uint8Array.of(...bytes, ...(await checkOf(kind, bytes))))}`
}

/** Throws `bad-code` for a text that is none, or not whole. */
async function readCode<T>(kind: keyof typeof kinds, codec: Codec<T>, code: string): Promise<T> {
  const text = code.replace(/\s/g, '')
  const prefix = kinds[kind]
  if (!text.startsWith(prefix) || text.length > 4 * protocol.listEntryBytesMax)
    throw badCode(`it does not begin with ${prefix}`)
  try {
    const bytes = fromBase64url(text.slice(prefix.length))
    const [value, check] = [bytes.slice(0, -checkBytes), bytes.slice(-checkBytes)]
    if (!sameBytes(check, await checkOf(kind, value))) throw badCode('a part of it is missing or another one')
    return decode(codec, value)
  } catch (error) {
    if (error instanceof ProtocolError) throw badCode('it is not whole')
    throw error
  }
}

export const writeOffer = (offer: Parameters<(typeof Offer)['write']>[1]): Promise<string> =>
  codeOf('offer', Offer, offer)
export const readOffer = (code: string) => readCode('offer', Offer, code)
export const writeDeviceCode = (device: DeviceCertificate): Promise<string> =>
  codeOf('device', DeviceCertificate, device)
export const readDeviceCode = (code: string) => readCode('device', DeviceCertificate, code)

async function checkOf(kind: keyof typeof kinds, bytes: Uint8Array): Promise<Uint8Array> {
  const digest = await crypto.subtle.digest('SHA-256', Uint8Array.of(kind.length, ...bytes))
  return new Uint8Array(digest).slice(0, checkBytes)
}

function badCode(why: string): ClientError {
  return new ClientError('bad-code', `this is not a code: ${why}`)
}

import { createPrivateKey, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { decode } from '@messageu/protocol'
import { ClientId, type Name, nameFromText, nameToText, limits as wire } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'
import { readOwn } from '../private-files.ts'
import { publicKeyOf } from './crypto.ts'

/** Who we are on a server. */
export interface Identity {
  readonly name: Name
  readonly id: ClientId
  readonly privateKey: KeyObject
}

/** An id as people and programs see it: 32 hex digits. */
export function idText(id: ClientId): string {
  return Buffer.from(id).toString('hex')
}

export function idFromText(text: string): ClientId | undefined {
  return /^[0-9a-f]{32}$/i.test(text) ? decode(ClientId, Buffer.from(text, 'hex')) : undefined
}

export function identityPath(dir: string): string {
  return join(dir, 'me.info')
}

/** The original's client gives its private key this much room, filled up with zeros. */
const keyFieldBytes = 1000

/** The three lines of `me.info`, as the original's client reads and writes them. */
export function formatIdentity({ name, id, privateKey }: Identity): Uint8Array {
  const field = Buffer.alloc(keyFieldBytes)
  const der = privateKey.export({ type: 'pkcs8', format: 'der' })
  if (der.copy(field) < der.length) throw new Error(`a private key of ${der.length} bytes does not fit me.info`)
  return Buffer.from(`${nameToText(name)}\n${idText(id).toUpperCase()}\n${field.toString('base64')}\n`)
}

/** Reads what `formatIdentity` wrote, or the original's client. Throws an `Error` that says what is wrong. */
export function parseIdentity(bytes: Uint8Array): Identity {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  const [name = '', idLine = '', key = '', ...rest] = text.split(/\r?\n/)
  if (rest.some((line) => line !== '')) throw new Error('it has more than three lines')
  const id = idFromText(idLine)
  if (id === undefined) throw new Error('its second line is not an id of 32 hex digits')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(key)) throw new Error('its third line is not base64')
  return { name: nameFromText(name), id, privateKey: readPrivateKey(Buffer.from(key, 'base64')) }
}

/** The DER header tells the key from the zeros behind it. */
function readPrivateKey(field: Buffer): KeyObject {
  const size = 4 + (field.length > 4 ? field.readUInt16BE(2) : 0)
  if (field.length > keyFieldBytes || field[0] !== 0x30 || field[1] !== 0x82 || size > field.length)
    throw new Error('its third line does not hold a private key')
  const privateKey = createPrivateKey({ key: field.subarray(0, size), format: 'der', type: 'pkcs8' })
  if (privateKey.asymmetricKeyType !== 'rsa') throw new Error('its private key is not an RSA key')
  if (publicKeyOf(privateKey).length !== wire.publicKeyBytes) throw new Error('its private key is not of version 2')
  return privateKey
}

export interface LoadedIdentity extends Identity {
  /** Other users of this machine can read the private key. */
  readonly exposed: boolean
}

export async function loadIdentity(dir: string): Promise<LoadedIdentity | undefined> {
  const path = identityPath(dir)
  const file = await readOwn(path, { max: 4096 })
  if (file === undefined) return undefined
  try {
    return { ...parseIdentity(file.bytes), exposed: file.exposed }
  } catch (cause) {
    throw new Failure('damaged', {
      what: `${path} cannot be read`,
      why: cause instanceof Error ? cause.message : String(cause),
      advice: 'put back a copy that you kept; nothing was changed',
      cause,
    })
  }
}

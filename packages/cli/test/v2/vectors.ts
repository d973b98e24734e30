import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { encrypt } from './world.ts'

/** The golden vectors: recorded from the original's client and server. */
function load(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../../protocol/vectors/v2/${name}.json`, import.meta.url), 'utf8'))
}

interface CryptoVectors {
  keypairs: {
    publicSpkiDer: string
    privatePkcs8Der: string
    infoLineBase64: string
    oaepSha1: { plain: string; cipher: string }[]
  }[]
  texts: {
    key: string
    textUtf8Hex?: string
    cipher?: string
    textSize?: number
    allBytes?: string
    cipherSha256?: string
  }[]
  files: { key: string; size: number; plainSha256: string; cipherSize: number; cipherSha256: string; cipher?: string }[]
}

export const cryptoVectors = load('crypto') as CryptoVectors // the shape that the README beside it describes

export interface RecordedMessage {
  messageId: number
  messageTypeName: 'key-request' | 'key' | 'text' | 'file'
  fromId: string
  contentSize: number
  aesKey?: string
  text?: string
  textSha256?: string
  plainSize?: number
  plainSha256?: string
}

interface Bytes {
  hex?: string
  size?: number
  sha256?: string
  headHex?: string
}

export interface Exchange {
  n: number
  request: Bytes & {
    decoded: Partial<RecordedMessage> & {
      clientId: string
      code: number
      name: string
      publicKey: string
      targetId: string
      toId: string
    }
  }
  response: Bytes & {
    decoded: {
      code: number
      newClientId?: string
      clients: { id: string; name: string }[]
      publicKey: string
      messages: RecordedMessage[]
      messageId: number
    }
  }
}

export interface Recording {
  clients: Record<string, { name: string; privateKeyPkcs8?: string }>
  exchanges: Exchange[]
}

export function recording(name: string): Recording {
  return load(name) as Recording // the shape that the README beside it describes
}

/** Byte i of a file is (i * 7 + 3) mod 256. */
export function fileOf(size: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: size }, (_, i) => i * 7 + 3))
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The plaintexts that are recorded by their hash: by the rules in the notes of the recordings. */
const known: Buffer[] = [
  ...['L'.repeat(5000), 'M'.repeat(70_000)].map((text) => Buffer.from(text)),
  ...[0, 1, 5000, 3_145_728].map(fileOf),
  Buffer.from(Uint8Array.from({ length: 5000 }, (_, i) => i)),
]
const plains = new Map(known.map((plain) => [sha256(plain), plain]))

/** What a message says, without the NUL of a text. */
export function plainOf({ text, textSha256, plainSha256 }: Partial<RecordedMessage>): Buffer | undefined {
  return text === undefined ? plains.get(textSha256 ?? plainSha256 ?? '') : Buffer.from(text)
}

/** The content of a text or a file, made anew. */
export function contentOf(message: Partial<RecordedMessage>): Uint8Array {
  const plain = plainOf(message)
  if (plain === undefined || message.aesKey === undefined) throw new Error('this content cannot be made anew')
  const whole = message.messageTypeName === 'text' ? Buffer.concat([plain, Buffer.alloc(1)]) : plain
  return encrypt(Buffer.from(message.aesKey, 'hex'), whole)
}

import {
  type Argon2Parameters,
  argon2,
  createCipheriv,
  createDecipheriv,
  createHash,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import { promisify } from 'node:util'
import { Secret } from '@messageu/e2ee'
import { decode, encode, fixed, type Infer, struct, u16, u32, union } from '@messageu/protocol'
import { ClientError } from '../errors.ts'
import { readPrivateFile, replacePrivateFile } from './private-files.ts'

/** RFC 9106 §4, second choice: 64 MiB, three passes; one lane, as in the other implementations of it that we know. */
const hardness = { memoryKib: 65_536, passes: 3, lanes: 1 } as const
/** What a file may ask of us. */
const hardest = { memoryKib: 2 ** 20, passes: 16, lanes: 16 } as const

const keyBytes = 32
const checksumBytes = 8
const format = 1

/** `none`: the file's mode is all that protects the key. */
const Protection = union({
  none: { tag: 0, body: struct({ key: fixed(keyBytes) }) },
  passphrase: {
    tag: 1,
    body: struct({
      salt: fixed(16),
      memoryKib: u32,
      passes: u32,
      lanes: u32,
      nonce: fixed(12),
      sealed: fixed(keyBytes + 16),
    }),
  },
})
type Protection = Infer<typeof Protection>
type Wrapped = Extract<Protection, { kind: 'passphrase' }>['body']

/**
 * The key that a profile is encrypted with: the file holds its format (2 bytes), how it is protected, and the first bytes
 * of the SHA-256 of all that: so that a wrong passphrase can be told from a damaged file.
 */
export async function readKeyFile(file: string, passphrase: Secret | undefined): Promise<Secret | undefined> {
  const bytes = readPrivateFile(file, { max: 2 + Protection.max + checksumBytes })
  if (bytes === undefined) return undefined
  const protection = parse(file, bytes)
  if (protection.kind === 'none') {
    if (passphrase !== undefined) throw new ClientError('wrong-passphrase', 'this profile has no passphrase')
    return new Secret(protection.body.key)
  }
  if (passphrase === undefined) throw new ClientError('passphrase-needed', 'this profile has a passphrase')
  return unwrap(file, protection.body, passphrase)
}

/** Keeps `key`, under a passphrase if there is one, in place of what the file was before. */
export async function writeKeyFile(file: string, key: Secret, passphrase: Secret | undefined): Promise<void> {
  const protection: Protection =
    passphrase === undefined
      ? { kind: 'none', body: { key: key.reveal() } }
      : { kind: 'passphrase', body: await wrap(key, passphrase) }
  const content = Buffer.concat([encode(u16, format), encode(Protection, protection)])
  replacePrivateFile(file, Buffer.concat([content, checksumOf(content)]))
}

function parse(file: string, bytes: Uint8Array): Protection {
  const content = bytes.subarray(0, -checksumBytes)
  const checksum = bytes.subarray(-checksumBytes)
  if (content.length < 2 || !timingSafeEqual(checksumOf(content), checksum)) throw damaged(file)
  const found = decode(u16, content.subarray(0, 2))
  if (found > format) throw new ClientError('newer-storage', `${file} was written by a newer program`)
  try {
    return decode(Protection, content.subarray(2))
  } catch (cause) {
    throw damaged(file, cause)
  }
}

async function wrap(key: Secret, passphrase: Secret): Promise<Wrapped> {
  const settings = { ...hardness, salt: randomBytes(16), nonce: randomBytes(12) }
  const cipher = createCipheriv('aes-256-gcm', await stretch(passphrase, settings), settings.nonce)
  const sealed = Buffer.concat([cipher.update(key.reveal()), cipher.final(), cipher.getAuthTag()])
  return { ...settings, sealed }
}

async function unwrap(file: string, wrapped: Wrapped, passphrase: Secret): Promise<Secret> {
  const { memoryKib, passes, lanes, nonce, sealed } = wrapped
  const isTooHard = memoryKib > hardest.memoryKib || passes > hardest.passes || lanes > hardest.lanes
  if (isTooHard || passes < 1 || lanes < 1 || memoryKib < 8 * lanes) throw damaged(file)
  const decipher = createDecipheriv('aes-256-gcm', await stretch(passphrase, wrapped), nonce)
  decipher.setAuthTag(sealed.subarray(keyBytes))
  try {
    return new Secret(Buffer.concat([decipher.update(sealed.subarray(0, keyBytes)), decipher.final()]))
  } catch {
    throw new ClientError('wrong-passphrase', 'this is not the passphrase of the profile')
  }
}

function stretch(passphrase: Secret, { salt, memoryKib, passes, lanes }: Omit<Wrapped, 'nonce' | 'sealed'>) {
  const parameters: Argon2Parameters = {
    message: passphrase.reveal(),
    nonce: salt,
    memory: memoryKib,
    passes,
    parallelism: lanes,
    tagLength: keyBytes,
  }
  return promisify(argon2)('argon2id', parameters)
}

function checksumOf(content: Uint8Array): Uint8Array {
  return createHash('sha256').update(content).digest().subarray(0, checksumBytes)
}

function damaged(file: string, cause?: unknown): ClientError {
  return new ClientError('damaged', `${file} is not the key that was written`, { cause })
}

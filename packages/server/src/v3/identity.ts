import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { utf8Encode } from '@messageu/protocol'
import type { Incarnation, PublicKey } from '@messageu/protocol/v3'
import type { Archive, ObjectChange } from '../archive.ts'
import { DamagedStorage } from '../storage/damage.ts'
import type { Random } from './services.ts'

/** Who the server is: its key, which the links to it carry, and the life that its positions belong to. */
export interface ServerIdentity {
  readonly privateKey: KeyObject
  readonly publicKey: PublicKey
  /** New after every restore. Protocol 3 §3.1. */
  readonly incarnation: Incarnation
}

const keyName = utf8Encode('key')
const incarnationName = utf8Encode('incarnation')
const incarnationBytes = 16

/** The identity that the archive holds; what is missing of it is made, and durable before anybody sees it. */
export async function openIdentity(archive: Archive, random: Random): Promise<ServerIdentity> {
  const storedKey = await archive.get('server', keyName)
  const storedIncarnation = await archive.get('server', incarnationName)
  const privateKey = storedKey === undefined ? generateKeyPairSync('ed25519').privateKey : readKey(storedKey)
  const incarnation = storedIncarnation ?? random(incarnationBytes)
  if (incarnation.length !== incarnationBytes)
    throw new DamagedStorage('server.db', `the incarnation has ${incarnation.length} bytes`)

  const missing: ObjectChange[] = []
  if (storedKey === undefined)
    missing.push({ kind: 'server', key: keyName, value: privateKey.export({ format: 'der', type: 'pkcs8' }) })
  if (storedIncarnation === undefined) missing.push({ kind: 'server', key: incarnationName, value: incarnation })
  if (missing.length > 0) await archive.step({ objects: missing })

  return {
    privateKey,
    publicKey: rawPublicKey(createPublicKey(privateKey)),
    incarnation: incarnation as Incarnation, // as many bytes as one has
  }
}

function readKey(der: Uint8Array): KeyObject {
  try {
    const key = createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' })
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch (error) {
    throw new DamagedStorage('server.db', "the server's key cannot be read", { cause: error })
  }
  throw new DamagedStorage('server.db', "the server's key is no Ed25519 key")
}

const spkiHead = Buffer.from('302a300506032b6570032100', 'hex') // RFC 8410 §4: everything but the key itself

export function rawPublicKey(key: KeyObject): PublicKey {
  const der = key.export({ format: 'der', type: 'spki' })
  return new Uint8Array(der.subarray(spkiHead.length)) as PublicKey // an Ed25519 key: 32 bytes behind the head
}

/** The key as node:crypto wants it. Any 32 bytes are taken: a signature shows whether they are a key. */
export function keyObject(key: PublicKey): KeyObject {
  return createPublicKey({ key: Buffer.concat([spkiHead, key]), format: 'der', type: 'spki' })
}

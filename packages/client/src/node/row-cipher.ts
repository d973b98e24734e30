import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import type { Secret } from '@messageu/e2ee'
import { bytes, decode, encode, struct } from '@messageu/protocol'
import { ClientError } from '../errors.ts'
import { type Key, keyBytes, type Row, type Table, tables } from '../store.ts'

const nonceBytes = 12
const tagBytes = 16
const noncesPerDraw = 256
export const digestBytes = 32

const Keyed = struct({ key: bytes({ max: 2 ** 16 }), value: bytes({ max: 2 ** 26 }) })

/** A row as it lies on the disk. */
export interface SealedRow {
  readonly name: Uint8Array
  readonly revision: number
  readonly sealed: Uint8Array
}

/** What tells a row from every other, and from itself in another state. */
export interface RowMark {
  readonly name: Uint8Array
  readonly revision: number
  readonly end: Uint8Array
}

export function markOf({ name, revision, sealed }: SealedRow): RowMark {
  return { name, revision, end: sealed.subarray(-tagBytes) }
}

/**
 * How rows lie on the disk. A value is sealed by AES-256-GCM under a random nonce; table, name and the revision that
 * wrote it are authenticated with it, so that no row passes for another one, or for itself in another place. A key of
 * bytes (a name, an id) stands there as its keyed hash, and inside the seal as itself; a number stands there as it is.
 * Visible are therefore: how many rows a table has, their sizes, their numbers and which is newer.
 */
export class RowCipher {
  readonly #valueKey: KeyObject
  readonly #nameKey: KeyObject
  readonly #digestKey: KeyObject
  #nonces: Uint8Array = new Uint8Array()

  constructor(storeKey: Secret) {
    this.#valueKey = derived(storeKey, 'messageu/store/value/1')
    this.#nameKey = derived(storeKey, 'messageu/store/name/1')
    this.#digestKey = derived(storeKey, 'messageu/store/digest/1')
  }

  nameOf(table: Table, key: Key): Uint8Array {
    if (typeof key === 'number') return keyBytes(key)
    return createHmac('sha256', this.#nameKey).update(`${table}\0`).update(key).digest().subarray(0, tagBytes)
  }

  /** `name` is that of the key. */
  seal(table: Table, { key, value }: Row, { name, revision }: { name: Uint8Array; revision: number }): SealedRow {
    const content = typeof key === 'number' ? value : encode(Keyed, { key, value })
    return { name, revision, sealed: this.sealBytes(content, aadOf(table, name, revision)) }
  }

  open(table: Table, { name, revision, sealed }: SealedRow): Row {
    const content = this.openBytes(sealed, aadOf(table, name, revision), `a row of ${table}`)
    if (tables[table].keys === 'number') return { key: Number(Buffer.from(name).readBigUInt64BE()), value: content }
    return decode(Keyed, content)
  }

  /**
   * What a row is in the digest of all rows, which is the exclusive or of a keyed hash of each. It lets the start see that a
   * row has gone, came back in an older state or lies under another name, without opening any. `end` is the last 16 bytes
   * of what is sealed, which stand for all of it.
   */
  hashOf(table: string, { name, revision, end }: RowMark): Uint8Array {
    return createHmac('sha256', this.#digestKey).update(`${table}\0${revision}\0`).update(end).update(name).digest()
  }

  sealBytes(content: Uint8Array, aad: Uint8Array): Uint8Array {
    const nonce = this.#nextNonce()
    const cipher = createCipheriv('aes-256-gcm', this.#valueKey, nonce).setAAD(aad)
    return Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()])
  }

  /** Random bytes are drawn for many rows at once: a draw costs more than a row. */
  #nextNonce(): Uint8Array {
    if (this.#nonces.length < nonceBytes) this.#nonces = randomBytes(nonceBytes * noncesPerDraw)
    const nonce = this.#nonces.subarray(0, nonceBytes)
    this.#nonces = this.#nonces.subarray(nonceBytes)
    return nonce
  }

  /** `what` is said of bytes that are not what was sealed. */
  openBytes(sealed: Uint8Array, aad: Uint8Array, what: string): Uint8Array {
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#valueKey, sealed.subarray(0, nonceBytes))
      decipher.setAAD(aad).setAuthTag(sealed.subarray(-tagBytes))
      const content = decipher.update(sealed.subarray(nonceBytes, -tagBytes))
      decipher.final()
      return new Uint8Array(content)
    } catch (cause) {
      throw new ClientError('damaged', `${what} is not what was stored`, { cause })
    }
  }
}

/** Adds a row's hash to the digest of all rows, or takes it away again. */
export function toggle(digest: Uint8Array, hash: Uint8Array): void {
  for (let i = 0; i < digestBytes; i++) digest[i] = (digest[i] ?? 0) ^ (hash[i] ?? 0)
}

function aadOf(table: Table, name: Uint8Array, revision: number): Uint8Array {
  return Buffer.concat([Buffer.from(`${table}\0`), name, keyBytes(revision)])
}

/** As a key object: Node takes ten times as long to find out what a key of plain bytes is. */
function derived(storeKey: Secret, purpose: string): KeyObject {
  return createSecretKey(new Uint8Array(hkdfSync('sha256', storeKey.reveal(), new Uint8Array(), purpose, 32)))
}

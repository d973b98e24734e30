import { crc32 } from 'node:zlib'
import { DamagedStorage } from './damage.ts'

const headBytes = 9
/** Where a row is gathered, so that most take one call for all their columns. */
const gathered = Buffer.allocUnsafeSlow(4096)
const heads = new DataView(gathered.buffer)

/** What a column of ours can hold; a damaged row may hold anything. */
export type Field = number | Uint8Array

/**
 * The digest of a row over all its other columns, keys included: a page has no checksum of its own, and a flipped bit
 * in a key would hand one client's messages to another.
 */
export function rowDigest(...fields: readonly Field[]): number {
  let digest = 0
  let length = 0
  for (const field of fields) {
    const bytes = field instanceof Uint8Array ? field : undefined
    if (length + headBytes + (bytes?.length ?? 0) > gathered.length) {
      digest = crc32(gathered.subarray(0, length), digest)
      length = 0
    }
    // kind and number, or kind and length
    heads.setUint8(length, bytes !== undefined ? 2 : typeof field === 'number' ? 1 : 0)
    heads.setFloat64(length + 1, bytes?.length ?? Number(field))
    length += headBytes
    if (bytes === undefined) continue
    if (length + bytes.length <= gathered.length) {
      gathered.set(bytes, length)
      length += bytes.length
    } else {
      digest = crc32(bytes, crc32(gathered.subarray(0, length), digest))
      length = 0
    }
  }
  return crc32(gathered.subarray(0, length), digest)
}

/** Throws `DamagedStorage` unless `fields` are what `digest` was taken of. `row` names them for the operator. */
export function mustMatch(row: string, digest: number, ...fields: readonly Field[]): void {
  if (rowDigest(...fields) !== digest) throw new DamagedStorage('server.db', `${row} does not match its digest`)
}

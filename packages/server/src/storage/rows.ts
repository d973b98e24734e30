import { crc32 } from 'node:zlib'
import { DamagedStorage } from './damage.ts'

/** What a column of ours can hold; a damaged row may hold anything. */
export type Field = number | Uint8Array

/**
 * The digest of a row over all its other columns, keys included: a page has no checksum of its own, and a flipped bit
 * in a key would hand one client's messages to another.
 */
export function rowDigest(...fields: readonly Field[]): number {
  let digest = 0
  for (const field of fields) {
    const bytes = field instanceof Uint8Array ? field : undefined
    const head = new DataView(new ArrayBuffer(9)) // kind and number, or kind and length
    head.setUint8(0, bytes !== undefined ? 2 : typeof field === 'number' ? 1 : 0)
    head.setFloat64(1, bytes?.length ?? Number(field))
    digest = crc32(head, digest)
    if (bytes !== undefined) digest = crc32(bytes, digest)
  }
  return digest
}

/** Throws `DamagedStorage` unless `fields` are what `digest` was taken of. `row` names them for the operator. */
export function mustMatch(row: string, digest: number, ...fields: readonly Field[]): void {
  if (rowDigest(...fields) !== digest) throw new DamagedStorage('server.db', `${row} does not match its digest`)
}

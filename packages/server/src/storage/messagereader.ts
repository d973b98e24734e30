import type { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { tellsOfDamage } from './damage.ts'
import { contentBytesInHead, messageIdInHead, messageIdOf, sealedHeadBytes } from './records.ts'

/** Where a message's content lies when it is not behind its head. */
export interface ContentRow {
  readonly id: number
  readonly bytes: number
  readonly digest: number
}

export interface StoredForms {
  /** The stored forms one after the other, in a buffer of their own. */
  readonly sealed: Uint8Array
  /** Bytes of each. */
  readonly lengths: Uint32Array
  /** Of those whose content is a file, by their index. */
  readonly contents: ReadonlyMap<number, ContentRow>
  /** Positions that are missing or not what was stored; their length is 0. */
  readonly damaged: readonly number[]
}

interface MessageRow {
  readonly sealed: Uint8Array
  readonly digest: number
  readonly content: number | null
}

/** Reads stored forms by position. The doctor uses it as well, on a connection of its own. */
export function messageReader(database: DatabaseSync): (positions: Float64Array) => StoredForms {
  const together = formsTogether(database)
  const oneByOne = formsOneByOne(database)
  return (positions) => together(positions) ?? oneByOne(positions)
}

/**
 * All of them by one statement, a quarter of what it costs to ask for each. Undefined unless every one is there, whole,
 * and not a file.
 */
function formsTogether(database: DatabaseSync): (positions: Float64Array) => StoredForms | undefined {
  // a blob is concatenated byte for byte, as the digests show; an IN visits rows by position
  const rows = database.prepare(`
    SELECT CAST(group_concat(sealed, '') AS BLOB) AS sealed, group_concat(digest) AS digests, count(content) AS contents
    FROM messages WHERE position IN (SELECT value FROM json_each(?))`)

  return (positions) => {
    const found = undefinedIfDamaged(() => rows.get(`[${positions.join()}]`) as RowsTogether | undefined)
    if (found === undefined || !(found.sealed instanceof Uint8Array) || found.contents > 0) return undefined
    const { sealed } = found
    const view = new DataView(sealed.buffer, sealed.byteOffset, sealed.byteLength)
    const digests = found.digests.split(',')
    if (digests.length !== positions.length) return undefined
    const lengths = new Uint32Array(positions.length)
    let at = 0
    for (let i = 0; i < positions.length; i++) {
      if (at + sealedHeadBytes > sealed.length) return undefined
      const length = sealedHeadBytes + contentBytesInHead(view, at)
      const form = sealed.subarray(at, at + length)
      if (form.length !== length) return undefined
      const row = { sealed: form, digest: Number(digests[i]) }
      if (!isWhole(row, positions[i] as number)) return undefined // within its bounds
      lengths[i] = length
      at += length
    }
    return at === sealed.length ? { sealed, lengths, contents: new Map(), damaged: [] } : undefined
  }
}

interface RowsTogether {
  /** Null if there is none. */
  readonly sealed: Uint8Array | null
  readonly digests: string
  readonly contents: number
}

function formsOneByOne(database: DatabaseSync): (positions: Float64Array) => StoredForms {
  const message = database.prepare('SELECT sealed, digest, content FROM messages WHERE position = ?')
  const content = database.prepare(
    'SELECT id, bytes, content_digest AS digest FROM contents WHERE id = ? AND position = ?',
  )

  return (positions) => {
    const found: Uint8Array[] = []
    const contents = new Map<number, ContentRow>()
    const damaged: number[] = []
    let bytes = 0

    function read(position: number, index: number): Uint8Array | undefined {
      const row = message.get(position) as MessageRow | undefined
      if (row === undefined || !isWhole(row, position)) return undefined
      if (row.content === null) return bytesToldOf(row) === row.sealed.length ? row.sealed : undefined
      const there = content.get(row.content, position) as ContentRow | undefined
      if (there !== undefined) contents.set(index, { ...there })
      return there && row.sealed
    }

    for (let i = 0; i < positions.length; i++) {
      const position = positions[i] as number // within its bounds
      const sealed = undefinedIfDamaged(() => read(position, i))
      if (sealed === undefined) damaged.push(position)
      found.push(sealed ?? nothing)
      bytes += sealed?.length ?? 0
    }
    const sealed = new Uint8Array(bytes)
    const lengths = new Uint32Array(found.length)
    let at = 0
    for (let i = 0; i < found.length; i++) {
      const form = found[i] as Uint8Array // within its bounds
      sealed.set(form, at)
      lengths[i] = form.length
      at += form.length
    }
    return { sealed, lengths, contents, damaged }
  }
}

const nothing = new Uint8Array(0)

/** The digest covers the bytes; that they belong to this position stands in their head. */
function isWhole({ sealed, digest }: Pick<MessageRow, 'sealed' | 'digest'>, position: number): boolean {
  return sealed instanceof Uint8Array && crc32(sealed) === digest && messageIdInHead(sealed) === messageIdOf(position)
}

/** Of head and content, as the head tells it. That the content is a file is in no digest. */
function bytesToldOf({ sealed }: Pick<MessageRow, 'sealed'>): number {
  return sealedHeadBytes + contentBytesInHead(new DataView(sealed.buffer, sealed.byteOffset, sealed.byteLength), 0)
}

function undefinedIfDamaged<T>(read: () => T | undefined): T | undefined {
  try {
    return read()
  } catch (error) {
    if (tellsOfDamage(error)) return undefined
    throw error
  }
}

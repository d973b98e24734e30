import type { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { tellsOfDamage } from './damage.ts'
import { messageIdInHead, messageIdOf } from './records.ts'

/** Where a message's content lies when it is not behind its head. */
export interface ContentRow {
  readonly id: number
  readonly bytes: number
  readonly digest: number
}

export interface StoredForms {
  /** The stored forms one after the other. */
  readonly sealed: Uint8Array
  /** Bytes of each. */
  readonly lengths: Uint32Array
  readonly contents: readonly (ContentRow | undefined)[]
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
  const message = database.prepare('SELECT sealed, digest, content FROM messages WHERE position = ?')
  const content = database.prepare(
    'SELECT id, bytes, content_digest AS digest FROM contents WHERE id = ? AND position = ?',
  )

  function formOf(position: number): { sealed: Uint8Array; content: ContentRow | undefined } | undefined {
    const row = message.get(position) as MessageRow | undefined
    if (row === undefined || !isWhole(row, position)) return undefined
    if (row.content === null) return { sealed: row.sealed, content: undefined }
    const found = content.get(row.content, position) as ContentRow | undefined
    return found && { sealed: row.sealed, content: { ...found } }
  }

  return (positions) => {
    const found: Uint8Array[] = []
    const contents: (ContentRow | undefined)[] = []
    const damaged: number[] = []
    for (const position of positions) {
      const form = undefinedIfDamaged(() => formOf(position))
      if (form === undefined) damaged.push(position)
      found.push(form?.sealed ?? new Uint8Array(0))
      contents.push(form?.content)
    }
    const lengths = Uint32Array.from(found, (sealed) => sealed.length)
    return { sealed: Buffer.concat(found), lengths, contents, damaged }
  }
}

/** The digest covers the bytes; that they belong to this position stands in their head. */
function isWhole({ sealed, digest }: MessageRow, position: number): boolean {
  return sealed instanceof Uint8Array && crc32(sealed) === digest && messageIdInHead(sealed) === messageIdOf(position)
}

function undefinedIfDamaged<T>(read: () => T | undefined): T | undefined {
  try {
    return read()
  } catch (error) {
    if (tellsOfDamage(error)) return undefined
    throw error
  }
}

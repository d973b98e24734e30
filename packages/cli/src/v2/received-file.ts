import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { createOwn, nameIt, openOwn } from '../private-files.ts'
import { numbered } from './safe-name.ts'
import { pieces } from './sealed.ts'

export interface Received {
  readonly path: string
  readonly bytes: number
}

interface Saving {
  readonly folder: string
  readonly name: string
  /** The name while the file is not yet known to be whole and right. */
  readonly partFile: string
  readonly content: AsyncIterable<Uint8Array>
  /** A run that died may have saved this very file: then it is not saved again under another name. */
  readonly again: boolean
  readonly signal?: AbortSignal | undefined
}

/** Writes a received file under a name that nothing has yet: durable when this resolves, and whole or not there. */
export async function saveReceived({ folder, name, partFile, content, again, signal }: Saving): Promise<Received> {
  await using file = await createOwn(partFile)
  const hash = createHash('sha256')
  let bytes = 0
  for await (const piece of content) {
    signal?.throwIfAborted()
    await file.writeFile(piece)
    hash.update(piece)
    bytes += piece.length
  }
  await file.sync()
  const digest = hash.digest('hex')
  for (let count = 1; ; count++) {
    const path = join(folder, numbered(name, count))
    if (await nameIt(partFile, path)) return { path, bytes }
    if (again && (await holds(path, bytes, digest))) return { path, bytes }
  }
}

async function holds(path: string, bytes: number, digest: string): Promise<boolean> {
  await using file = await openOwn(path).catch(() => undefined)
  if (file === undefined || (await file.stat()).size !== bytes) return false
  const hash = createHash('sha256')
  for await (const piece of pieces(file, 0, bytes)) hash.update(piece)
  return hash.digest('hex') === digest
}

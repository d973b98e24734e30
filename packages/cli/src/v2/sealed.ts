import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { encode } from '@messageu/protocol'
import { Delivered } from '@messageu/protocol/v2'

const pieceBytes = 256 * 1024

/** A message as it came, in a file of ours: `at` is where its header begins, and the content follows. */
export interface Sealed {
  readonly header: Delivered
  readonly file: FileHandle
  readonly at: number
}

function contentStart({ at }: Sealed): number {
  return at + Delivered.max
}

/** The whole content; for those that are known to be small. */
export function readContent(sealed: Sealed): Promise<Uint8Array> {
  return readExactly(sealed.file, contentStart(sealed), sealed.header.contentBytes)
}

/** The last `count` bytes of the content, or all of it. */
export function readTail(sealed: Sealed, count: number): Promise<Uint8Array> {
  const length = Math.min(count, sealed.header.contentBytes)
  return readExactly(sealed.file, contentStart(sealed) + sealed.header.contentBytes - length, length)
}

export function contentPieces(sealed: Sealed): AsyncGenerator<Uint8Array> {
  return pieces(sealed.file, contentStart(sealed), sealed.header.contentBytes)
}

/** A part of a file in pieces, each of which is valid until the next one is asked for. */
export async function* pieces(file: FileHandle, start: number, length: number): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(pieceBytes, length))
  for (let done = 0; done < length; ) {
    const piece = buffer.subarray(0, length - done)
    await fill(piece, file, start + done)
    yield piece
    done += piece.length
  }
}

export async function readExactly(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  await fill(bytes, file, position)
  return bytes
}

async function fill(bytes: Uint8Array, file: FileHandle, position: number): Promise<void> {
  const { length } = bytes
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) throw new RangeError(`the file ends at ${position + done}, and not at ${position + length}`)
    done += bytesRead
  }
}

/** What makes a message the same message when it comes again: sender, id and the hash of the content. */
export async function identityOf(sealed: Sealed): Promise<string> {
  const content = createHash('sha256')
  for await (const piece of contentPieces(sealed)) content.update(piece)
  const { sender, message } = sealed.header
  return createHash('sha256')
    .update(sender)
    .update(Uint32Array.of(message))
    .update(content.digest())
    .digest('base64url')
}

/** The bytes of a message: what `Sealed` describes. */
export async function* sealedBytesOf(sealed: Sealed): AsyncGenerator<Uint8Array> {
  yield encode(Delivered, sealed.header)
  yield* contentPieces(sealed)
}

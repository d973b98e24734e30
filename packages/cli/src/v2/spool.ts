import type { FileHandle } from 'node:fs/promises'
import { decode, ProtocolError } from '@messageu/protocol'
import { Delivered, readAnswerHeader, refusal } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'
import { openOwn, readOwn, removeIfThere, rewriteOwn } from '../private-files.ts'
import { readExactly, type Sealed } from './sealed.ts'

/** A spool is the answer to a fetch, byte for byte: so its own first bytes say how long it has to be. */
const headerBytes = refusal.length

/** Whether the file holds a whole answer, down to the last message. */
export async function isWhole(file: FileHandle): Promise<boolean> {
  try {
    for await (const _message of walk(file));
    return true
  } catch (error) {
    if (error instanceof ProtocolError) return false
    throw error
  }
}

async function* walk(file: FileHandle): AsyncGenerator<Sealed> {
  const { size } = await file.stat()
  if (size < headerBytes) throw new ProtocolError('malformed', 'no header')
  const answer = readAnswerHeader('fetch', await readExactly(file, 0, headerBytes))
  if (answer.kind === 'refused' || headerBytes + answer.bytes !== size)
    throw new ProtocolError('malformed', `${size} bytes are not what the header announces`)
  for (let at = headerBytes; at < size; ) {
    if (at + Delivered.max > size) throw new ProtocolError('malformed', 'it ends inside a header')
    const header = decode(Delivered, await readExactly(file, at, Delivered.max))
    const next = at + Delivered.max + header.contentBytes
    if (next > size) throw new ProtocolError('malformed', 'it ends inside a message')
    yield { header, file, at }
    at = next
  }
}

/**
 * Fetched messages on our disk: the server has forgotten them, or is about to. A small file beside them says up to
 * where they were shown, so that a run that died here is taken up where it ended.
 */
export class Spool implements AsyncDisposable {
  readonly #path: string
  readonly #file: FileHandle
  readonly #mark: FileHandle
  /** Messages that begin before this position were shown in an earlier run. */
  readonly shownUpTo: number

  private constructor(path: string, file: FileHandle, mark: FileHandle, shownUpTo: number) {
    this.#path = path
    this.#file = file
    this.#mark = mark
    this.shownUpTo = shownUpTo
  }

  static async open(path: string): Promise<Spool> {
    const file = await openOwn(path)
    if (file === undefined) throw damaged(path, 'it is gone')
    const before = await readOwn(markPath(path), { max: markDigits })
    const shownUpTo = before === undefined ? 0 : Number(Buffer.from(before.bytes).toString('latin1'))
    return new Spool(path, file, await rewriteOwn(markPath(path)), Number.isInteger(shownUpTo) ? shownUpTo : 0)
  }

  async *messages(): AsyncGenerator<Sealed> {
    try {
      yield* walk(this.#file)
    } catch (error) {
      throw error instanceof ProtocolError ? damaged(this.#path, error.message) : error
    }
  }

  /** To be called when the message has been shown, and before the next one is. */
  async markShown(sealed: Sealed): Promise<void> {
    await this.#mark.write(String(sealed.at + 1).padStart(markDigits), 0)
    await this.#mark.datasync()
  }

  /** To be called when every message was shown and the state knows it. */
  async remove(): Promise<void> {
    await removeIfThere(this.#path)
    await removeIfThere(markPath(this.#path))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
    await this.#mark.close()
  }
}

export const markSuffix = '.shown'
const markDigits = 12

function markPath(path: string): string {
  return `${path}${markSuffix}`
}

function damaged(path: string, why: string): Failure {
  return new Failure('damaged', {
    what: `the fetched messages in ${path} cannot be read`,
    why,
    advice: 'check the disk; move the file away to read what else is waiting. Nothing was deleted',
  })
}

import { statfsSync, writeSync } from 'node:fs'
import { type FileHandle, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DeliveryReader } from '@messageu/protocol/v2'
import { Failure } from '../failure.ts'
import { createOwn, removeIfThere, syncFolder } from '../private-files.ts'
import type { OnProgress } from '../progress.ts'
import type { Receiver } from './connection.ts'
import { limits } from './limits.ts'

const unchecked = { onMessage() {}, onContent() {}, onMessageEnd() {} }

/**
 * Takes the answer to a fetch to the disk. A piece is written in the call that hands it over, so that a process that is
 * killed leaves behind everything that it took from the server.
 */
export class Fetch implements Receiver, AsyncDisposable {
  readonly #file: FileHandle
  readonly #draft: string
  readonly #final: string
  readonly #onProgress: OnProgress | undefined
  readonly #reader = new DeliveryReader(unchecked)
  #received = 0
  /** The size of all messages together; 0 if none was waiting. */
  bytes = 0

  private constructor(file: FileHandle, draft: string, final: string, onProgress: OnProgress | undefined) {
    this.#file = file
    this.#draft = draft
    this.#final = final
    this.#onProgress = onProgress
  }

  /** Begins with the file, so that nothing is asked of the server that has no place here. */
  static async start(draft: string, final: string, onProgress?: OnProgress): Promise<Fetch> {
    return new Fetch(await createOwn(draft), draft, final, onProgress)
  }

  onHeader(header: Uint8Array, bytes: number): void {
    checkRoom(dirname(this.#draft), bytes)
    this.bytes = bytes
    writeWhole(this.#file.fd, header)
  }

  onPiece(piece: Uint8Array): void {
    writeWhole(this.#file.fd, piece)
    this.#reader.push(piece)
    this.#received += piece.length
    this.#onProgress?.(this.#received, this.bytes)
  }

  async onComplete(): Promise<void> {
    this.#reader.end()
    if (this.bytes > 0) await finishSpool(this.#file, this.#draft, this.#final)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
    await removeIfThere(this.#draft)
  }
}

/** Makes a whole answer durable and gives it the name under which it is shown. */
export async function finishSpool(file: FileHandle, draft: string, final: string): Promise<void> {
  await file.sync()
  await rename(draft, final)
  await syncFolder(dirname(final))
}

/** A few messages may use the last of the room; a flood may not. */
function checkRoom(folder: string, bytes: number): void {
  if (bytes < limits.diskFloorBytes / 64) return
  const { bavail, bsize } = statfsSync(folder)
  if (bavail * bsize - bytes >= limits.diskFloorBytes) return
  throw new Failure('disk-full', {
    what: `${bytes} bytes are waiting and do not fit on the disk of ${folder}`,
    advice: 'make room, then again; they stay on the server until then',
  })
}

/** The call of the operating system may take a part only. */
function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done)
}

import type { FileHandle } from 'node:fs/promises'

/** Buffers of one file that are between disk and network at the same time. */
const buffersPerFile = 3

interface Reading {
  readonly buffer: Buffer
  /** Bytes that the file should have there. */
  readonly wanted: number
  readonly read: Promise<{ bytesRead: number }>
}

/** What was read, and how much it should have been. `buffer` is to be given back. */
export interface ReadPiece {
  readonly buffer: Buffer
  readonly bytes: Buffer
  readonly wanted: number
}

/**
 * Reads a file from front to end into a few buffers that go round: the disk fills whichever was given back while the
 * network has the others.
 */
export class ReadAhead {
  readonly #file: FileHandle
  readonly #bytes: number
  /** In the order of the file. */
  readonly #underWay: Reading[] = []
  /** Where the next read begins. */
  #at = 0
  #given: (() => void) | undefined
  #closed = false

  /** Begins to read the `bytes` bytes that a file should have. */
  constructor(file: FileHandle, bytes: number, bufferBytes: number) {
    this.#file = file
    this.#bytes = bytes
    for (let i = 0; i < buffersPerFile && this.#at < bytes; i++)
      this.#begin(Buffer.allocUnsafeSlow(Math.min(bufferBytes, bytes - this.#at)))
  }

  /** The piece behind the last one. Waits for the disk, and while all buffers are taken for one to be given back. */
  async next(): Promise<ReadPiece> {
    if (this.#underWay.length === 0)
      await new Promise<void>((resolve) => {
        this.#given = resolve
      })
    const { buffer, wanted, read } = this.#underWay[0] as Reading // either there was one, or one was given back
    const { bytesRead } = await read
    this.#underWay.shift()
    return { buffer, bytes: buffer.subarray(0, bytesRead), wanted }
  }

  /** Takes back the buffer of a piece that nobody needs any more. */
  give(buffer: Buffer): void {
    if (this.#closed || this.#at >= this.#bytes) return
    this.#begin(buffer)
    this.#given?.()
    this.#given = undefined
  }

  /** Resolves when nothing is read any more. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled(this.#underWay.map(({ read }) => read))
  }

  #begin(buffer: Buffer): void {
    const wanted = Math.min(buffer.length, this.#bytes - this.#at)
    const read = this.#file.read(buffer, 0, wanted, this.#at)
    read.catch(() => {}) // it may fail while nobody waits for it; whoever does is told
    this.#at += wanted
    this.#underWay.push({ buffer, wanted, read })
  }
}

import { closeSync, fdatasync, openSync } from 'node:fs'
import { promisify } from 'node:util'

type Synchronise = (descriptor: number) => Promise<void>

/**
 * Brings what was written to a file to the disk, and holds nobody up meanwhile. Whoever asks while that is under way shares
 * the next time, which begins after all of them have written.
 */
export class SyncedFile implements AsyncDisposable {
  readonly #descriptor: number
  readonly #synchronise: Synchronise
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(file: string, synchronise: Synchronise = promisify(fdatasync)) {
    this.#synchronise = synchronise
    this.#descriptor = openSync(file, 'r+') // for Windows; nothing is written here
  }

  /** Resolves when everything that was written before is on the disk. Rejects as well where a sync before it has failed. */
  sync(): Promise<void> {
    if (this.#running === undefined) return this.#begin()
    this.#next ??= this.#running.then(() => this.#begin())
    return this.#next
  }

  /** Not before the last sync is over. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([this.#running, this.#next])
    closeSync(this.#descriptor)
  }

  #begin(): Promise<void> {
    this.#next = undefined
    const running = this.#synchronise(this.#descriptor).then(() => {
      if (this.#next === undefined) this.#running = undefined
    })
    this.#running = running
    return running
  }
}

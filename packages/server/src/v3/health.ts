import { utf8Encode } from '@messageu/protocol'
import type { Archive } from '../archive.ts'

/** How old the last look may be: whoever asks more often must not cost a write each time. */
const freshMs = 1000

/** Whether the server can do what it is for: make something durable. */
export class Readiness {
  readonly #archive: Pick<Archive, 'step'>
  readonly #nowMs: () => number
  #lookedAt = Number.NEGATIVE_INFINITY
  #looking: Promise<boolean> | undefined
  /** Milliseconds that the last durable write took; NaN before the first. */
  lastWriteMs = Number.NaN

  constructor(archive: Pick<Archive, 'step'>, nowMs: () => number) {
    this.#archive = archive
    this.#nowMs = nowMs
  }

  isReady(): Promise<boolean> {
    if (this.#looking === undefined || this.#nowMs() - this.#lookedAt > freshMs) {
      this.#lookedAt = this.#nowMs()
      this.#looking = this.#look()
    }
    return this.#looking
  }

  async #look(): Promise<boolean> {
    const startedAt = this.#nowMs()
    try {
      await this.#archive.step({ objects: [{ kind: 'server', key: utf8Encode('probe'), value: new Uint8Array(8) }] })
    } catch {
      return false // whatever it was, the storage has told the log
    }
    this.lastWriteMs = this.#nowMs() - startedAt
    return true
  }
}

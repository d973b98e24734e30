import { statfs } from 'node:fs/promises'

export interface FreeSpace {
  readonly freeBytes: number
  readonly totalBytes: number
}

/** How old the last look at the disk may be when it decides. */
const freshMs = 1000

export async function freeSpaceOf(folder: string): Promise<FreeSpace> {
  const { bavail, blocks, bsize } = await statfs(folder)
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
}

/**
 * Decides whether the disk may take more: a share of it stays free, whatever was promised to uploads under way
 * included. It looks at the disk about once a second and counts in between.
 */
export class DiskWatermark {
  readonly #look: () => Promise<FreeSpace>
  readonly #reserveShare: number
  readonly #nowMs: () => number
  #room = 0
  #promised = 0
  #lookedAt = Number.NEGATIVE_INFINITY
  #looking = false

  private constructor(look: () => Promise<FreeSpace>, reserveShare: number, nowMs: () => number) {
    this.#look = look
    this.#reserveShare = reserveShare
    this.#nowMs = nowMs
  }

  static async open(look: () => Promise<FreeSpace>, reserveShare: number, nowMs: () => number): Promise<DiskWatermark> {
    const watermark = new DiskWatermark(look, reserveShare, nowMs)
    await watermark.#refresh()
    return watermark
  }

  /** Promises `bytes` to somebody, if they leave the reserve alone. To be given back when stored or given up. */
  promise(bytes: number): boolean {
    // whichever way: a clock that was set back must not stop the looking
    if (Math.abs(this.#nowMs() - this.#lookedAt) > freshMs && !this.#looking) void this.#refresh()
    if (bytes > this.#room - this.#promised) return false
    this.#promised += bytes
    return true
  }

  giveBack(bytes: number): void {
    this.#promised -= bytes
    this.#room -= bytes // until the next look, as if they had been stored
  }

  async #refresh(): Promise<void> {
    this.#looking = true
    try {
      const { freeBytes, totalBytes } = await this.#look()
      this.#room = freeBytes - totalBytes * this.#reserveShare
    } catch {
      this.#room = 0 // a disk that cannot be looked at gets nothing new; the next look may find it again
    } finally {
      this.#lookedAt = this.#nowMs()
      this.#looking = false
    }
  }
}

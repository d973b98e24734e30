import assert from 'node:assert/strict'
import { sleep } from './peer.ts'

const patienceMs = 120_000

/**
 * A monotonic clock for a listener that goes on only while a test waits with it, a step at a time, with turns of the
 * event loop in between: however slow the machine is, nobody's time is over before it was their turn.
 */
export class HandClock {
  #ms = 0
  readonly #stepMs: number
  readonly nowMs = (): number => this.#ms

  constructor({ stepMs = 5 } = {}) {
    this.#stepMs = stepMs
  }

  async pass(ms: number): Promise<void> {
    for (const until = this.#ms + ms; this.#ms < until; ) await this.#step()
  }

  /** Lets time pass until `holds`. Resolves with how much it was, in milliseconds. */
  async until(what: string, holds: () => boolean): Promise<number> {
    const began = this.#ms
    while (!holds()) {
      if (this.#ms - began > patienceMs) assert.fail(`in ${patienceMs} ms it did not become true that ${what}`)
      await this.#step()
    }
    return this.#ms - began
  }

  /** Lets time pass until `work` is done. */
  async during<T>(work: Promise<T>): Promise<T> {
    let isOver = false
    const result = work.finally(() => {
      isOver = true
    })
    result.catch(() => {}) // whoever awaits it below hears of it
    await this.until('the work is done', () => isOver)
    return result
  }

  async #step(): Promise<void> {
    await sleep(2)
    this.#ms += this.#stepMs
  }
}

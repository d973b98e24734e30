import type { Clock } from '../src/clock.ts'

/** Time that passes only when a test says so. */
export class FakeClock implements Clock {
  #nowMs = 1_700_000_000_000
  #elapsedMs = 0
  readonly #timers = new Set<{ dueMs: number; callback: () => void }>()

  nowMs(): number {
    return this.#nowMs
  }

  monotonicMs(): number {
    return this.#elapsedMs
  }

  after(delayMs: number, callback: () => void): Disposable {
    const timer = { dueMs: this.#elapsedMs + Math.ceil(delayMs), callback } // whole milliseconds, as real timers
    this.#timers.add(timer)
    return { [Symbol.dispose]: () => this.#timers.delete(timer) }
  }

  /** How long until something is due; nothing is where nobody waits. */
  get nextMs(): number | undefined {
    const due = [...this.#timers].map(({ dueMs }) => dueMs - this.#elapsedMs)
    return due.length === 0 ? undefined : Math.min(...due)
  }

  /** Lets time pass, and everything happen that is due meanwhile, in its order. */
  async pass(ms: number): Promise<void> {
    await settled() // whatever has just happened may plan something
    const endMs = this.#elapsedMs + ms
    for (;;) {
      const [first] = [...this.#timers].filter(({ dueMs }) => dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs)
      if (first === undefined) break
      this.#timers.delete(first)
      this.#set(Math.max(first.dueMs, this.#elapsedMs))
      first.callback()
      await settled()
    }
    this.#set(endMs)
    await settled()
  }

  /** The wall clock is set; what is due stays due. */
  jump(ms: number): void {
    this.#nowMs += ms
  }

  /** Time passes at one stroke: whatever is due meanwhile happens once, at the end of it. */
  async sleep(ms: number): Promise<void> {
    this.#set(this.#elapsedMs + ms)
    await this.pass(0)
  }

  #set(elapsedMs: number): void {
    this.#nowMs += elapsedMs - this.#elapsedMs
    this.#elapsedMs = elapsedMs
  }
}

/** Some turns of the event loop later: for work that ends by itself. */
export async function settled(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Turns of the event loop, until something is so: keys are made and signatures checked by other threads. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 100_000; turn++) {
    if (condition()) return
    await new Promise((resolve) => setImmediate(resolve))
  }
  throw new Error(`it never came to this: ${what}`)
}

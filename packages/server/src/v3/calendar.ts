import type { Clock } from './services.ts'

/**
 * Time that outlives the process, of which only the wall clock knows, and the wall clock may jump. While the process
 * runs, a second opinion is the time of its start and what has gone by since; where the two differ, whoever waits for a
 * time gets the benefit: nothing ends early, and nobody is kept out for longer than was said. Over a restart there is
 * the wall clock alone.
 */
export class Calendar {
  readonly #clock: Clock
  /** The wall clock when the other one was at 0. */
  readonly #zeroMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#zeroMs = clock.nowMs() - clock.monotonicMs()
  }

  /** The wall clock, milliseconds since 1970: for what is stored and shown. */
  get nowMs(): number {
    return this.#clock.nowMs()
  }

  /** A time that has not come before `durationMs` have gone by, whichever clock is right. */
  after(durationMs: number): number {
    return Math.max(this.#clock.nowMs(), this.#steadyMs) + durationMs
  }

  /** Whether a time has come by both clocks. */
  hasCome(atMs: number): boolean {
    return Math.min(this.#clock.nowMs(), this.#steadyMs) >= atMs
  }

  /** How much time has gone by since, by the clock that says more; below 0 if both were set back. */
  elapsedSince(atMs: number): number {
    return Math.max(this.#clock.nowMs(), this.#steadyMs) - atMs
  }

  get #steadyMs(): number {
    return this.#zeroMs + this.#clock.monotonicMs()
  }
}

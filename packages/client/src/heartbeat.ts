import type { Clock } from './clock.ts'
import { limits } from './limits.ts'

export interface HeartbeatOwner {
  /** Now and then, at least every `quietMs`. */
  beat(): void
  /** The other side has been quiet: it should be asked for a sign. */
  ask(): void
  gone(): void
}

/**
 * Notices that the other side is gone though nobody said so. Protocol 3 §3.6.
 *
 * A browser does not show its WebSocket's pings, so the sign that is asked for is the answer to a request.
 */
export class Heartbeat implements Disposable {
  readonly #clock: Clock
  readonly #owner: HeartbeatOwner
  #heardMs: number
  #timer: Disposable

  constructor(clock: Clock, owner: HeartbeatOwner) {
    this.#clock = clock
    this.#owner = owner
    this.#heardMs = clock.monotonicMs()
    this.#timer = clock.after(limits.quietMs, () => this.#look())
  }

  heard(): void {
    this.#heardMs = this.#clock.monotonicMs()
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]()
  }

  #look(): void {
    const silenceMs = this.#clock.monotonicMs() - this.#heardMs
    if (silenceMs >= limits.silentMs) {
      this.#owner.gone()
      return
    }
    const isQuiet = silenceMs >= limits.quietMs
    const dueMs = isQuiet ? limits.silentMs : limits.quietMs
    this.#timer = this.#clock.after(dueMs - silenceMs, () => this.#look())
    if (isQuiet) this.#owner.ask()
    this.#owner.beat()
  }
}

/** Requests that are begun in one turn of the event loop, over all connections: about a millisecond of work. */
const requestsPerTurn = 128

/** Who has requests that wait for a later turn. */
export interface Paced {
  /** Begins what waits, as far as the turn allows; waits again with what is left. */
  goOn(): void
}

/**
 * Bounds what one turn of the event loop begins, whatever its connections have brought: so that answers, deliveries and
 * timers come between. Whoever waits goes on in the order of the waiting.
 */
export class Pace {
  #left = requestsPerTurn
  #waiting: Paced[] = []
  #isTurnAwaited = false

  /** Whether one more request may be begun in this turn. */
  take(): boolean {
    if (this.#left === 0) return false
    this.#left -= 1
    this.#awaitTurn()
    return true
  }

  wait(paced: Paced): void {
    this.#waiting.push(paced)
    this.#awaitTurn()
  }

  #awaitTurn(): void {
    if (this.#isTurnAwaited) return
    this.#isTurnAwaited = true
    setImmediate(() => {
      this.#isTurnAwaited = false
      this.#left = requestsPerTurn
      const waiting = this.#waiting
      this.#waiting = []
      let turned = 0
      while (turned < waiting.length && this.#left > 0) waiting[turned++]?.goOn()
      if (turned < waiting.length) this.#waiting = [...waiting.slice(turned), ...this.#waiting]
      if (this.#waiting.length > 0) this.#awaitTurn()
    })
  }
}

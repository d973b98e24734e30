/** Requests that are begun in one turn of the event loop, over all connections: about a millisecond of work. */
const requestsPerTurn = 128

/** Who has requests that wait for a later turn. */
export interface Paced {
  /** How many there are. */
  readonly wanted: number
  /** Begins what waits, as far as the turn allows; waits again with what is left. */
  goOn(): void
}

/**
 * Bounds what one turn of the event loop begins, whatever its connections have brought: so that answers, deliveries and
 * timers come between. Whoever waits goes on in the order of the waiting.
 *
 * What came together begins together, unless it is more than a turn begins: cut in two it would stay so, because its
 * answers come in two pieces and so does what is asked next.
 */
export class Pace {
  #left = requestsPerTurn
  #waiting: Paced[] = []
  #isTurnAwaited = false

  /** How many of `wanted` requests may be begun in this turn. */
  take(wanted: number): number {
    if (!this.#has(wanted)) return 0
    const granted = Math.min(wanted, requestsPerTurn)
    this.#left -= granted
    this.#awaitTurn()
    return granted
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
      for (let first = waiting[0]; first !== undefined && this.#has(first.wanted); first = waiting[turned]) {
        turned += 1
        first.goOn()
      }
      if (turned < waiting.length) this.#waiting = [...waiting.slice(turned), ...this.#waiting]
      if (this.#waiting.length > 0) this.#awaitTurn()
    })
  }

  #has(wanted: number): boolean {
    return Math.min(wanted, requestsPerTurn) <= this.#left
  }
}

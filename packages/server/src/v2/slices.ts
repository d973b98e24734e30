/**
 * Does pieces of work in order, a few in each turn of the event loop: what one commit has settled for many is not
 * answered in one go, while everybody else waits.
 */
export class Slices {
  readonly #perTurn: number
  readonly #waiting: (() => void)[] = []
  #leftInTurn: number
  #turning = false

  constructor(perTurn: number) {
    this.#perTurn = perTurn
    this.#leftInTurn = perTurn
  }

  /** Does `work` at once if this turn may still take some, otherwise as soon as it is due. */
  do(work: () => void): void {
    this.#turnLater()
    if (this.#leftInTurn > 0 && this.#waiting.length === 0) {
      this.#leftInTurn -= 1
      work()
    } else {
      this.#waiting.push(work)
    }
  }

  #turnLater(): void {
    if (this.#turning) return
    this.#turning = true
    setImmediate(() => this.#turn())
  }

  #turn(): void {
    this.#turning = false
    const due = this.#waiting.splice(0, this.#perTurn)
    this.#leftInTurn = this.#perTurn - due.length
    if (this.#waiting.length > 0 || due.length > 0) this.#turnLater()
    for (const work of due) work()
  }
}

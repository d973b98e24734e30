/**
 * The requests of one connection that have no answer yet, with their bytes. At most a few hundred: two arrays that are
 * walked through are faster than a map, whose tables are made anew all the time by what comes and goes.
 */
export class Outstanding {
  readonly #numbers: number[] = []
  readonly #bytes: number[] = []

  get size(): number {
    return this.#numbers.length
  }

  has(request: number): boolean {
    return this.#numbers.includes(request)
  }

  add(request: number, bytes: number): void {
    this.#numbers.push(request)
    this.#bytes.push(bytes)
  }

  /** Returns the bytes of a request that is answered; 0 for one that is not here. */
  settle(request: number): number {
    const index = this.#numbers.indexOf(request)
    if (index === -1) return 0
    const bytes = this.#bytes[index] as number // one for each
    const [lastNumber, lastBytes] = [this.#numbers.pop() as number, this.#bytes.pop() as number] // it is not empty
    if (index < this.#numbers.length) {
      this.#numbers[index] = lastNumber
      this.#bytes[index] = lastBytes
    }
    return bytes
  }
}

/** What was used last, up to a weight in all: what was not used for longest goes first. */
export class Recent<T> {
  readonly #weightMax: number
  readonly #weigh: (value: T) => number
  readonly #entries = new Map<string, { readonly value: T; readonly weight: number }>()
  #weight = 0

  constructor(weightMax: number, weigh: (value: T) => number = () => 1) {
    this.#weightMax = weightMax
    this.#weigh = weigh
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): T | undefined {
    const value = this.#entries.get(key)?.value
    if (value !== undefined) this.set(key, value)
    return value
  }

  /** Weighs anew what may have grown. */
  set(key: string, value: T): void {
    this.delete(key)
    const weight = this.#weigh(value)
    this.#entries.set(key, { value, weight })
    this.#weight += weight
    for (const oldest of this.#entries.keys()) {
      if (this.#weight <= this.#weightMax || oldest === key) break
      this.delete(oldest)
    }
  }

  delete(key: string): void {
    this.#weight -= this.#entries.get(key)?.weight ?? 0
    this.#entries.delete(key)
  }
}

/**
 * Remembers what was used lately, within a weight: all that was used since the generation before the last was forgotten.
 * What may not be forgotten yet is carried over.
 */
export class Generations<V> {
  readonly #weightMax: number
  readonly #mayForget: (value: V) => boolean
  readonly #weightOf: (value: V) => number
  #young = new Map<number, V>()
  #old = new Map<number, V>()
  #weight = 0

  constructor(weightMax: number, mayForget: (value: V) => boolean, weightOf: (value: V) => number = () => 1) {
    this.#weightMax = weightMax
    this.#mayForget = mayForget
    this.#weightOf = weightOf
  }

  get(key: number): V | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) {
      this.#old.delete(key)
      this.#young.set(key, old)
      this.grew(this.#weightOf(old))
    }
    return old
  }

  set(key: number, value: V): void {
    this.#old.delete(key)
    this.#young.set(key, value)
    this.grew(this.#weightOf(value))
  }

  forget(key: number): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }

  /** A value weighs more than it did. */
  grew(by: number): void {
    this.#weight += by
    if (this.#weight < this.#weightMax) return
    this.#weight = 0
    const kept = this.#old.entries().filter(([, value]) => !this.#mayForget(value))
    const carried = new Map(kept)
    this.#old = this.#young
    this.#young = carried
  }
}

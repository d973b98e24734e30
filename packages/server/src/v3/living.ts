/** Finds objects for as long as anybody holds them, and no longer. */
export class Living<Key, T extends object> {
  readonly #references = new Map<Key, WeakRef<T>>()
  readonly #ended = new FinalizationRegistry<Key>((key) => {
    if (this.#references.get(key)?.deref() === undefined) this.#references.delete(key)
  })

  get size(): number {
    return this.#references.size
  }

  get(key: Key): T | undefined {
    return this.#references.get(key)?.deref()
  }

  add(key: Key, value: T): void {
    this.#references.set(key, new WeakRef(value))
    this.#ended.register(value, key)
  }
}

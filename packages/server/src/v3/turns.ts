/**
 * Lets work on the same thing happen one after the other, in the order of the calls. Work on different things does not
 * wait for each other.
 */
export class Turns {
  readonly #last = new Map<string, Promise<void>>()

  /**
   * Runs `work` when all that was asked for earlier under one of `keys` is over, however it ended. All keys are taken at
   * once: work that asks for a further turn may wait for itself.
   */
  async take<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    const earlier = keys.map((key) => this.#last.get(key) ?? Promise.resolve())
    const { promise: over, resolve: end } = Promise.withResolvers<void>()
    for (const key of keys) this.#last.set(key, over)
    try {
      await Promise.all(earlier)
      return await work()
    } finally {
      end()
      for (const key of keys) if (this.#last.get(key) === over) this.#last.delete(key)
    }
  }
}

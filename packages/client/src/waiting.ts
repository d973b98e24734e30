/** The promise, or the reason of the signal if that comes first. The wait ends, not the work. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  aborted.promise.catch(() => {})
  const abort = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** Rings when something has changed, for whoever waits until something holds. */
export class Bell {
  readonly #life = new AbortController()
  #next = Promise.withResolvers<void>()

  ring(): void {
    this.#next.resolve()
    this.#next = Promise.withResolvers()
  }

  /** It never rings again: whoever waits, and whoever comes to wait, is told why. */
  end(why: Error): void {
    this.#life.abort(why)
  }

  get hasEnded(): boolean {
    return this.#life.signal.aborted
  }

  /** Resolves at the first ring, from now on, after which it holds; at once if it holds already. */
  async until(holds: () => boolean | Promise<boolean>, signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#life.signal])
    for (;;) {
      either.throwIfAborted()
      const next = this.#next.promise
      if (await holds()) return
      await orAborted(next, either)
    }
  }
}

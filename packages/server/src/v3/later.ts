/** Who waits for what comes of something: told one of the two, once. */
export interface Outcome<T> {
  done(value: T): void
  failed(error: unknown): void
}

/** Who waits for the answers to requests of one session that are served together. */
export interface Replies {
  /** Answers `requests`: with the frames of all of them, one behind the other. */
  done(requests: readonly number[], frames: Uint8Array): void
  failed(request: number, error: unknown): void
}

/**
 * What one session asks of one kind in one go, for what is asked by the hundred thousand: everything that is taken up
 * to `end` may become one step. Nothing else of the session is begun between.
 */
export interface Gathering {
  /** Throws `malformed` for what is no request; everything else is told. `body` must stay as it is until then. */
  take(body: Uint8Array, request: number): void
  /** Calls what was decided since. */
  end(): void
}

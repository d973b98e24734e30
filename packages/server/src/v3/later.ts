/** Who waits for what comes of something: told one of the two, once. */
export interface Outcome<T> {
  done(value: T): void
  failed(error: unknown): void
}

/** Who waits for the answer to one request: told the answer as a frame. */
export interface Reply extends Outcome<Uint8Array> {
  readonly request: number
  /** Answers all of `replies`, which are of one connection: with the frames of all of them, one behind the other. */
  doneTogether(replies: readonly Reply[], frames: Uint8Array): void
}

/**
 * What one session asks of one kind in one go, for what is asked by the hundred thousand: everything that is taken up
 * to `end` may become one step. Nothing else of the session is begun between.
 */
export interface Gathering {
  /** Throws `malformed` for what is no request; everything else is told. `body` must stay as it is until then. */
  take(body: Uint8Array, reply: Reply): void
  /** Calls what was decided since. */
  end(): void
}

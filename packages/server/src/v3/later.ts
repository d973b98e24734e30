/** Who waits for what comes of something: told one of the two, once. */
export interface Outcome<T> {
  done(value: T): void
  failed(error: unknown): void
}

/**
 * What comes later, without a promise, for what is asked by the hundred thousand: begun when somebody is there to be
 * told, who is told in the turn in which it is known, and perhaps before `tell` returns.
 */
export interface Later<T> {
  tell(outcome: Outcome<T>): void
}

export function isLater<T>(value: Later<T> | Promise<T> | T): value is Later<T> {
  return typeof value === 'object' && value !== null && 'tell' in value
}

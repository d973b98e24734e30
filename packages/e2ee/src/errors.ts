/**
 * What can be wrong with an identity beyond what `ProtocolError` tells: with words that somebody typed, or with a list
 * that holds by itself and yet is not the one that was seen before. Callers branch on the word.
 */
export type IdentityReason =
  | 'word-count' // not 24 words
  | 'unknown-word' // a word that is not among the 2048
  | 'words-do-not-fit' // each word is known; together they are not a phrase that was ever given out
  | 'list-older' // the list ends before the version that was seen: an old one is shown again
  | 'list-forked' // the list differs from the one that was seen, at a version that both have

export class IdentityError extends Error {
  override readonly name = 'IdentityError'
  readonly reason: IdentityReason

  constructor(reason: IdentityReason, message: string) {
    super(message)
    this.reason = reason
  }
}

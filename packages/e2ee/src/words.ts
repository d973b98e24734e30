import { utf8Encode } from '@messageu/protocol'
import { contexts } from '@messageu/protocol/v3'
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { entropyToMnemonic, mnemonicToEntropy } from '@scure/bip39'
import { wordlist } from '@scure/bip39/wordlists/english.js'
import { IdentityError } from './errors.ts'
import { newSeed, type RandomBytes, Secret } from './secret.ts'
import { type SigningKey, signingKey } from './signing.ts'

const wordCount = 24

/** The account key as a person writes it down: 24 words of BIP-39's English list, the last with a checksum. §4.1 */
export class RecoveryWords {
  readonly #entropy: Secret

  constructor(entropy: Secret) {
    this.#entropy = entropy
  }

  /** The words, in order, for the eyes of their owner. */
  show(): readonly string[] {
    return entropyToMnemonic(this.#entropy.reveal(), wordlist).split(' ')
  }

  /** The 32 bytes that the words stand for. */
  entropy(): Secret {
    return this.#entropy
  }

  toString(): string {
    return '[words]'
  }

  toJSON(): string {
    return '[words]'
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[words]'
  }
}

/** A word that is not on the list. The message names its place only: what was typed is nearly the secret. */
export class UnknownWordError extends IdentityError {
  /** Counted from 1. */
  readonly place: number
  readonly #typed: string

  constructor(place: number, typed: string) {
    super('unknown-word', `word ${place} is not on the list`)
    this.place = place
    this.#typed = typed
  }

  /** Up to three words that may have been meant, the likeliest first; for the eyes of their owner. */
  suggestions(): readonly string[] {
    return nearest(this.#typed)
  }
}

export function newWords(random: RandomBytes): RecoveryWords {
  return new RecoveryWords(newSeed(random))
}

/** The words in `text`, whatever their case and whatever blanks or line ends stand between them. */
export function parseWords(text: string): RecoveryWords {
  const words = text.normalize('NFKD').toLowerCase().trim().split(/\s+/)
  if (words.length !== wordCount) throw new IdentityError('word-count', `${words.length} words instead of ${wordCount}`)
  words.forEach((word, i) => {
    if (!wordlist.includes(word)) throw new UnknownWordError(i + 1, word)
  })
  return new RecoveryWords(entropyOf(words))
}

/**
 * The account key: Ed25519 from the seed HKDF-SHA-256 (RFC 5869) of the 32 bytes that the words stand for, without
 * salt, with the context `messageu/account-key/1` as `info`. BIP-39's own derivation is for a passphrase, which these
 * words do not have. §4.1
 */
export function accountKeyFromWords(words: RecoveryWords): Promise<SigningKey> {
  const seed = hkdf(sha256, words.entropy().reveal(), undefined, utf8Encode(contexts.accountKey), 32)
  return signingKey(new Secret(seed))
}

function entropyOf(words: readonly string[]): Secret {
  try {
    return new Secret(mnemonicToEntropy(words.join(' '), wordlist))
  } catch {
    // without a cause: the library's errors may repeat what they were given
    throw new IdentityError('words-do-not-fit', 'the words do not belong together: one is wrong or in another place')
  }
}

const suggestionsMax = 3
/** The longest word has 8 letters; what is much longer than that is near to none. */
const typedCharactersMax = 16

function nearest(typed: string): readonly string[] {
  if (typed.length > typedCharactersMax) return []
  return wordlist
    .map((word) => ({ word, distance: areTakenForOne(typed, word) ? 0 : edits(typed, word) }))
    .filter(({ distance }) => distance <= 2)
    .sort((one, other) => one.distance - other.distance)
    .slice(0, suggestionsMax)
    .map(({ word }) => word)
}

/** Four letters name a word of the list. */
function areTakenForOne(typed: string, word: string): boolean {
  return word.startsWith(typed) || word.slice(0, 4) === typed.slice(0, 4)
}

/** How many letters have to be put in, left out or replaced to make one from the other. */
function edits(one: string, other: string): number {
  let above = Array.from({ length: other.length + 1 }, (_, column) => column)
  for (let row = 1; row <= one.length; row++) {
    const current = [row]
    for (let column = 1; column <= other.length; column++) {
      const replaced = (above[column - 1] ?? 0) + (one[row - 1] === other[column - 1] ? 0 : 1)
      current.push(Math.min(replaced, (above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    above = current
  }
  return above[other.length] ?? 0
}

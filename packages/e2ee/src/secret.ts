/** The source of all randomness here: `count` bytes that nobody can guess. */
export type RandomBytes = (count: number) => Uint8Array

export const seedBytes = 32

/** Bytes that whatever prints, logs or stores a value does not show by accident. */
export class Secret {
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** The only way to the bytes; every call deserves a reviewer's glance. */
  reveal(): Uint8Array {
    return this.#bytes
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]'
  }
}

/** The private half of an Ed25519 key as RFC 8032 §5.1.5 begins with it. */
export function newSeed(random: RandomBytes): Secret {
  return new Secret(exactly(seedBytes, random))
}

/** A source that gives too little would make keys that can be guessed. */
export function exactly(count: number, random: RandomBytes): Uint8Array {
  const bytes = random(count)
  if (bytes.length !== count) throw new Error(`the source of randomness gave ${bytes.length} bytes instead of ${count}`)
  return bytes
}

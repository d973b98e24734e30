import { test } from 'node:test'

/** Numbers that look random and come again with the same seed (mulberry32). */
export interface Random {
  /** An integer from 0 to `limit - 1`. */
  below(limit: number): number
  bytes(count: number): Uint8Array
}

export function seeded(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let word = state
    word = Math.imul(word ^ (word >>> 15), word | 1)
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61)
    return (word ^ (word >>> 14)) >>> 0
  }
  const below = (limit: number): number => next() % limit
  return { below, bytes: (count) => new Uint8Array(count).map(() => below(256)) }
}

/** Cuts `bytes` into pieces of random sizes, now and then empty ones. */
export function cutAtRandom(bytes: Uint8Array, random: Random): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length; ) {
    const size = random.below(random.below(2) === 0 ? 4 : bytes.length - at + 1)
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

const edges32 = [0, 1, 20, 21, 22, 254, 255, 256, 2 ** 16, 2 ** 30 - 21, 2 ** 30 - 20, 2 ** 30, 2 ** 31, 2 ** 32 - 1]
type Mutation = (input: Uint8Array, random: Random, other: Uint8Array) => Uint8Array

const mutations: readonly Mutation[] = [
  function flipBits(input, random) {
    const flipped = input.slice()
    for (let left = 1 + random.below(4); left > 0 && flipped.length > 0; left--) {
      const at = random.below(flipped.length)
      flipped[at] = (flipped[at] as number) ^ (1 << random.below(8))
    }
    return flipped
  },
  function insert(input, random) {
    const at = random.below(input.length + 1)
    return joined(input.subarray(0, at), random.bytes(1 + random.below(4)), input.subarray(at))
  },
  function remove(input, random) {
    const at = random.below(input.length + 1)
    return joined(input.subarray(0, at), input.subarray(at + 1 + random.below(4)))
  },
  function truncate(input, random) {
    return input.slice(0, random.below(input.length + 1))
  },
  function splice(input, random, other) {
    return joined(input.subarray(0, random.below(input.length + 1)), other.subarray(random.below(other.length + 1)))
  },
  function overwriteNumber(input, random) {
    if (input.length < 4) return input
    const overwritten = input.slice()
    const value = edges32[random.below(edges32.length)] as number
    new DataView(overwritten.buffer).setUint32(random.below(input.length - 3), value, true)
    return overwritten
  },
  function replace(input, random) {
    return random.bytes(random.below(input.length + 8))
  },
  function keep(input) {
    return input
  },
]

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

const fixedSeed = 20_240_229
const { FUZZ_COUNT, FUZZ_SEED } = process.env
const seeds = FUZZ_SEED === undefined ? [fixedSeed, Math.floor(Math.random() * 2 ** 32)] : [Number(FUZZ_SEED)]
/** For each seed: 50 000 inputs a decoder in all. */
const count = Number(FUZZ_COUNT ?? 50_000 / seeds.length)

/**
 * Feeds `check` with FUZZ_COUNT inputs per seed, each a mutation of one of the `valid` ones (two mutations half of the
 * time). Without FUZZ_SEED there are two seeds, a fixed and a random one.
 */
export function fuzz(name: string, valid: readonly Uint8Array[], check: (input: Uint8Array, random: Random) => void) {
  const pick = <T>(from: readonly T[], random: Random): T => from[random.below(from.length)] as T
  for (const seed of seeds)
    test(`W01 W10: ${name} (${count} inputs, ${seed === fixedSeed ? 'fixed' : 'random'} seed)`, () => {
      using _ = fewStacks()
      const random = seeded(seed)
      for (let index = 0; index < count; index++) {
        let input = pick(valid, random)
        for (let left = 1 + random.below(2); left > 0; left--)
          input = pick(mutations, random)(input, random, pick(valid, random))
        try {
          check(input, random)
        } catch (cause) {
          const replay = `FUZZ_SEED=${seed} FUZZ_COUNT=${count} node --test ${process.argv[1]}`
          throw new Error(`input ${index}, ${Buffer.from(input).toString('hex')}; again with: ${replay}`, { cause })
        }
      }
    })
}

/** Errors without their stacks: refusals by the ten thousand took twice as long with them. With FUZZ_SEED they stay. */
function fewStacks(): Disposable {
  const before = Error.stackTraceLimit
  if (FUZZ_SEED === undefined) Error.stackTraceLimit = 0
  return {
    [Symbol.dispose]() {
      Error.stackTraceLimit = before
    },
  }
}

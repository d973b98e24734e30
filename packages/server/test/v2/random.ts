/** Numbers that look random and are the same for the same seed; a failing test prints its seed. */
export interface Dice {
  /** A whole number from 0 up to, not including, `end`. */
  below(end: number): number
  pick<T>(choices: readonly T[]): T
}

export function dice(seed: number): Dice {
  let state = seed | 0
  // mulberry32
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (end: number): number => Math.floor(next() * end)
  return { below, pick: <T>(choices: readonly T[]): T => choices[below(choices.length)] as T }
}

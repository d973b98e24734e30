import type { RandomBytes } from '@messageu/e2ee'

/** Time, as it is given to a client. Tests give their own. */
export interface Clock {
  /** Milliseconds since 1970; may jump. */
  nowMs(): number
  /** Milliseconds of a clock that never jumps. */
  monotonicMs(): number
  /** Calls `callback` once, unless the timer is disposed of before. */
  after(delayMs: number, callback: () => void): Disposable
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return { [Symbol.dispose]: () => clearTimeout(timer) }
  },
}

export const systemRandom: RandomBytes = (count) => crypto.getRandomValues(new Uint8Array(count))

/** Evenly between 0 and 1. */
export function fraction(random: RandomBytes): number {
  const bytes = random(4)
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) / 2 ** 32
}

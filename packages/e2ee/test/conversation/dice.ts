import { decode, u32 } from '@messageu/protocol'
import { seeded } from '../seeded.ts'

/** A quick source of many numbers below a bound; the same for the same label (xorshift, Marsaglia 2003). */
export function dice(label: string): (below: number) => number {
  let state = decode(u32, seeded(label)(4)) || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

import { encode, u32, utf8Encode } from '@messageu/protocol'
import { sha256 } from '@noble/hashes/sha2.js'
import type { RandomBytes } from '../src/secret.ts'

/** The same bytes for the same label, in every run and on every engine. */
export function seeded(label: string): RandomBytes {
  let calls = 0
  return (count) => {
    const blocks: number[] = []
    calls++
    for (let block = 0; blocks.length < count; block++)
      blocks.push(...sha256(Uint8Array.of(...utf8Encode(label), ...encode(u32, calls), ...encode(u32, block))))
    return Uint8Array.from(blocks.slice(0, count))
  }
}

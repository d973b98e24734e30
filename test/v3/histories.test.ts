/**
 * Random histories of people at a real server, in the time that a clock of their own says. Many more of them, and those
 * with devices that come and go and servers that go on from a copy: `test/v3/histories/run.ts`.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Kind } from './histories/doings.ts'
import { live } from './histories/history.ts'

const random = 1_000 + (Date.now() % 1_000_000)
const histories: readonly { readonly seed: number; readonly kinds: readonly Kind[] }[] = [
  { seed: 7, kinds: ['kills', 'server'] },
  { seed: 12, kinds: ['leave'] },
  { seed: random, kinds: ['kills', 'server'] },
]

describe('I1, I2, I3, I9, K07: whatever people, their devices and the server do, in the end nothing is lost', () => {
  for (const { seed, kinds } of histories)
    test(`and all agree, with ${kinds.join(', ')}: seed ${seed}`, async () => {
      const found = await live({ seed, steps: 60, kinds: new Set(kinds) })
      assert.deepEqual(found, [], `again: node test/v3/histories/run.ts ${seed} 1 ${kinds}`)
    })
})

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { type ConversationId, limits } from '@messageu/protocol/v3'
import { Letter } from '../../src/v3/letters.ts'
import { framesOf, type LetterBack } from '../../src/v3/lettersback.ts'

const conversation = randomBytes(32) as Uint8Array as ConversationId

/** A letter as it was accepted, and as it comes back from the box of its conversation, or from that of a device. */
function letterAt(position: number, sealedBytes: number, of: ConversationId | undefined): [Letter, LetterBack] {
  const sealed = randomBytes(sealedBytes)
  const letter = Letter.of({ kind: 'welcome', conversation, generation: 3, sealed, sender: 77 })
  letter.accept(position + 100, 1_700_000_000_000)
  letter.place(position)
  const content = of === undefined ? letter.contentWithConversation : letter.content
  return [letter, { position, conversation: of, content: content.slice() }]
}

suite('letters read back', () => {
  for (const [what, sizes] of [
    ['none', []],
    ['one', [300]],
    ['an empty one', [0]],
    ['many', Array.from({ length: 256 }, (_, i) => i)],
    ['more than lie in one buffer', Array(20).fill(30_000)],
    ['the largest, among small ones', [1, limits.sealedBytesMax, limits.sealedBytesMax, 2, 3]],
  ] as const)
    test(`the frames of ${what} are those of the letters, in order, and none is larger than a peer takes`, () => {
      const letters = sizes.map((size, i) => letterAt(i + 2 ** 33, size, i % 3 === 0 ? undefined : conversation))
      const buffers = [...framesOf(letters.map(([, back]) => back))]
      assert.deepEqual(
        Buffer.concat(buffers.map(({ frames }) => frames)),
        Buffer.concat(letters.map(([letter]) => letter.frame)),
      )
      assert.equal(
        buffers.reduce((sum, { count }) => sum + count, 0),
        sizes.length,
      )
      for (const { frames } of buffers) assert(frames.length <= limits.frameBytesMax)
    })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import { AccountId, ConversationId, DeviceId } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { MemoryStore } from '../../src/memory-store.ts'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import { isRepeated } from '../../src/messaging/senders.ts'
import { Workspace } from '../../src/workspace.ts'

const conversation = decode(ConversationId, new Uint8Array(ConversationId.max).fill(1))
const account = decode(AccountId, new Uint8Array(AccountId.max).fill(2))
const senderOf = (byte: number) => ({ account, device: decode(DeviceId, new Uint8Array(DeviceId.max).fill(byte)) })

/** Which of these sends of one device count as new, in this order. */
async function newOnes(numbers: readonly number[], by = 3, store = new Workspace(new MemoryStore())) {
  const found: number[] = []
  for (const number of numbers)
    if (!(await isRepeated({ store }, { conversation }, { sender: senderOf(by), number }))) found.push(number)
  return found
}

describe('a send of a device', () => {
  test('counts once, in whatever order and however often it comes', async () => {
    const numbers = Array.from({ length: 100 }, (_, i) => i + 1)
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(numbers), fc.shuffledSubarray(numbers), async (first, second) => {
        const found = await newOnes([...first, ...first, ...second])
        assert.equal(new Set(found).size, found.length)
        assert.deepEqual([...found].sort(), [...new Set([...first, ...second])].sort())
      }),
    )
  })

  test('counts once over jumps of any length, and one that is too far behind does not count at all', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 5_000 }), { maxLength: 60 }), async (numbers) => {
        const found = await newOnes(numbers)
        let newest = 0
        const seen = new Set<number>()
        for (const number of numbers) {
          const isNew = !seen.has(number) && number > newest - limits.seenWindow
          if (isNew) seen.add(number)
          newest = Math.max(newest, number)
        }
        assert.deepEqual([...found].sort(), [...seen].sort())
      }),
    )
  })

  test('is not mistaken for one of another device', async () => {
    const store = new Workspace(new MemoryStore())
    assert.deepEqual(await newOnes([1, 2, 3], 3, store), [1, 2, 3])
    assert.deepEqual(await newOnes([1, 2, 3], 4, store), [1, 2, 3])
    assert.deepEqual(await newOnes([1, 2, 3, 4], 3, store), [4])
  })
})

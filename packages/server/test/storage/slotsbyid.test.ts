import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SlotsById } from '../../src/storage/slotsbyid.ts'
import { newSendId } from './archiveworld.ts'
import { randomFrom, seed } from './world.ts'

suite('slots by their ids', () => {
  for (const [how, alike] of [
    ['random ids', false],
    ['ids that all fall into one chain', true],
  ] as const)
    test(`${how}: each slot is found by the id that it has now, and by no other`, () => {
      const random = randomFrom(seed)
      const slots = new SlotsById(64)
      const ids = new Map<number, Uint8Array>()
      const newId = (): Uint8Array => {
        const id = newSendId()
        if (alike) for (const at of [0, 5, 10, 15]) id[at] = 0
        return id
      }
      const find = (id: Uint8Array): number | undefined => slots.find(id, (slot) => ids.get(slot) === id)
      const gone: Uint8Array[] = []
      for (let i = 0; i < 2000; i++) {
        const slot = random.below(64)
        const before = ids.get(slot)
        if (before !== undefined) {
          slots.remove(slot, before)
          ids.delete(slot)
          gone.push(before)
        }
        if (random.below(4) > 0) {
          const id = newId()
          ids.set(slot, id)
          slots.add(slot, id)
        }
      }
      assert.ok(ids.size > 20)
      for (const [slot, id] of ids) assert.equal(find(id), slot)
      for (const id of gone) assert.equal(find(id), undefined)
    })
})

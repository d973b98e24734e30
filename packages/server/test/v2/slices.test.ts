import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Slices } from '../../src/v2/slices.ts'

const nextTurnOfLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('everything is done, in order, and never more in one turn than allowed', async () => {
  const bursts = fc.array(fc.nat(20), { minLength: 1, maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5 }), bursts, async (perTurn, sizes) => {
      const slices = new Slices(perTurn)
      const done: number[] = []
      let asked = 0
      let doneBefore = 0
      const turn = async (): Promise<void> => {
        await nextTurnOfLoop()
        assert(done.length - doneBefore <= 2 * perTurn, 'what the turn itself took, and what waited for it')
        doneBefore = done.length
      }
      for (const size of sizes) {
        for (let i = 0; i < size; i++) {
          const number = asked++
          slices.do(() => done.push(number))
        }
        await turn()
      }
      while (done.length < asked) await turn()
      assert.deepEqual(
        done,
        Array.from({ length: asked }, (_, i) => i),
      )
    }),
    { numRuns: 50 },
  )
})

test('a burst is begun at once, and its rest waits for the next turns', async () => {
  const slices = new Slices(2)
  const done: number[] = []
  for (let i = 0; i < 5; i++) slices.do(() => done.push(i))
  assert.deepEqual(done, [0, 1])
  await nextTurnOfLoop()
  assert.deepEqual(done, [0, 1, 2, 3])
  slices.do(() => done.push(5)) // the turn is full, and others came before
  assert.deepEqual(done, [0, 1, 2, 3])
  await nextTurnOfLoop()
  assert.deepEqual(done, [0, 1, 2, 3, 4, 5])
})

test('work that comes alone is done at once, turn after turn', async () => {
  const slices = new Slices(1)
  for (let i = 0; i < 3; i++) {
    let done = false
    slices.do(() => {
      done = true
    })
    assert(done)
    await nextTurnOfLoop()
    await nextTurnOfLoop()
  }
})

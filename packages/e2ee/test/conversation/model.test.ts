import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Model } from './model.ts'

const steps = 400

for (const seed of ['one', 'two', 'three'])
  test(`S05, S16, C13: ${steps} steps of anything leave all in agreement, seed "${seed}"`, async () => {
    const model = await Model.begin(seed)
    for (let step = 1; step <= steps; step++) {
      await model.step()
      if (step % 50 === 0) await model.settle()
    }
    const { counts } = model
    for (const what of ['read', 'blind', 'add', 'remove', 'rejoined', 'poisoned', 'recreated', 'repeated', 'crashed'])
      assert.ok((counts[what] ?? 0) > 0, `${what} never happened: ${JSON.stringify(counts)}`)
  })

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { archiveLimits } from '../../src/archive.ts'
import { newSendId, startArchive } from './archiveworld.ts'

suite('the end of steps', () => {
  test('is told in their order, and to a bounded number in one turn of the event loop', async () => {
    await using world = await startArchive('sqlite')
    const { archive } = world
    const count = 3000
    const told: { step: number; turn: number }[] = []
    let turn = 0
    const over = Promise.withResolvers<void>()
    const nextTurn = (): void => {
      turn += 1
      if (told.length < count) setImmediate(nextTurn)
    }
    for (let step = 0; step < count; step++)
      archive.take(
        { messages: [{ box: archiveLimits.firstBox, id: newSendId(), content: Buffer.alloc(10) }] },
        {
          durable() {
            told.push({ step, turn })
            if (told.length === count) over.resolve()
          },
          refused: over.reject,
        },
      )
    nextTurn()
    await over.promise
    assert.deepEqual(
      told.map(({ step }) => step),
      Array.from({ length: count }, (_, step) => step),
    )
    const perTurn = Map.groupBy(told, (each) => each.turn)
    const most = Math.max(...perTurn.values().map(({ length }) => length))
    assert.ok(most <= 2 * 256, `${most} in one turn`) // the rest of one portion and the beginning of the next may meet
  })
})

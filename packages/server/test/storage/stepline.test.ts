import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ProtocolError } from '@messageu/protocol'
import { StepLine } from '../../src/storage/stepline.ts'

function startLine() {
  const line = new StepLine()
  const told: string[] = []
  const join = (name: string, ready?: Promise<unknown>): void =>
    line.join({ enter: () => told.push(name), refuse: (error) => told.push(`${name} ${error.message}`) }, ready)
  return { line, told, join }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const full = new ProtocolError('storage-full', 'full')

suite('the line of steps', () => {
  test('whoever waits for nothing enters at once', () => {
    const { told, join } = startLine()
    join('a')
    join('b')
    assert.deepEqual(told, ['a', 'b'])
  })

  test('whoever waits holds up all behind it, and all enter in the order in which they came', async () => {
    const { line, told, join } = startLine()
    const [one, two] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    join('a', one.promise)
    join('b')
    join('c', two.promise)
    join('d')
    two.resolve()
    await turn()
    assert.deepEqual(told, [])
    const drained = line.drained()
    one.resolve()
    await drained
    assert.deepEqual(told, ['a', 'b', 'c', 'd'])
    join('e')
    assert.deepEqual(told.at(-1), 'e')
  })

  test('what one waited for fails: it is refused with all behind it, and those in front are not', async () => {
    const { line, told, join } = startLine()
    const [one, two] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    join('a', one.promise)
    join('b', two.promise)
    join('c')
    two.reject(full)
    await two.promise.catch(() => {})
    assert.deepEqual(told, ['b full', 'c full'])
    assert.throws(() => line.mustBeOpen(), full)
    await turn()
    line.mustBeOpen()
    join('d')
    one.resolve()
    await turn()
    assert.deepEqual(told, ['b full', 'c full', 'a', 'd'])
  })

  test('one that had entered is refused: so are all that wait, and their files are waited for no longer', async () => {
    const { line, told, join } = startLine()
    const file = Promise.withResolvers<void>()
    join('a', file.promise)
    join('b')
    line.refused(full)
    assert.deepEqual(told, ['a full', 'b full'])
    assert.throws(() => line.mustBeOpen(), full)
    await line.drained()
    await turn()
    line.mustBeOpen()
    join('c')
    file.reject(full)
    await turn()
    assert.deepEqual(told, ['a full', 'b full', 'c'])
    line.mustBeOpen()
  })

  test('one that is turned away takes with it those that come before its caller knows, and nobody else', async () => {
    const { line, told, join } = startLine()
    const file = Promise.withResolvers<void>()
    join('a', file.promise)
    line.turnedAway(full)
    assert.throws(() => line.mustBeOpen(), full)
    await Promise.resolve()
    assert.throws(() => line.mustBeOpen(), full)
    await turn()
    line.mustBeOpen()
    file.resolve()
    await turn()
    assert.deepEqual(told, ['a'])
  })
})

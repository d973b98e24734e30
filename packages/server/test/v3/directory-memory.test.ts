import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Calendar } from '../../src/v3/calendar.ts'
import { Living } from '../../src/v3/living.ts'
import { Recent } from '../../src/v3/recent.ts'
import { Turns } from '../../src/v3/turns.ts'
import { dayMs, hourMs, TestClock } from './directoryworld.ts'

suite('what was used last', () => {
  test('stays, and what was not used for longest goes', () => {
    const recent = new Recent<number>(3)
    for (const [i, key] of ['a', 'b', 'c'].entries()) recent.set(key, i)
    assert.equal(recent.get('a'), 0)
    recent.set('d', 3)
    assert.deepEqual(
      ['a', 'b', 'c', 'd'].map((key) => recent.get(key)),
      [0, undefined, 2, 3],
    )
    assert.equal(recent.size, 3)
  })

  test('is bounded by weight, which is weighed anew at each use', () => {
    const recent = new Recent<{ weight: number }>(10, ({ weight }) => weight)
    const growing = { weight: 2 }
    recent.set('growing', growing)
    for (const key of ['a', 'b', 'c', 'd']) recent.set(key, { weight: 2 })
    assert.equal(recent.size, 5)
    growing.weight = 7
    recent.get('growing')
    assert.equal(recent.size, 2)
    recent.delete('growing')
    for (const key of ['a', 'b', 'c', 'd']) recent.set(key, { weight: 2 })
    assert.equal(recent.size, 4)
  })

  test('keeps what is used now, however heavy', () => {
    const recent = new Recent<number>(10, (weight) => weight)
    recent.set('a', 5)
    recent.set('huge', 100)
    assert.deepEqual([recent.get('a'), recent.get('huge')], [undefined, 100])
    recent.set('b', 5)
    assert.deepEqual([recent.get('huge'), recent.get('b')], [undefined, 5])
  })
})

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void // what the flag brings

suite('what lives', () => {
  test('is found as long as somebody holds it, and is no burden afterwards', async () => {
    const living = new Living<number, { n: number }>()
    const held = { n: 0 }
    living.add(0, held)
    for (let n = 1; n <= 1000; n++) living.add(n, { n })
    for (let round = 0; living.size > 1 && round < 100; round++) {
      await new Promise(setImmediate)
      collect()
    }
    assert.equal(living.size, 1)
    assert.equal(living.get(0), held)
    assert.equal(living.get(500), undefined)
  })

  test('is found under its key when a newer object has taken the place of one that is gone', async () => {
    const living = new Living<string, { n: number }>()
    living.add('key', { n: 1 })
    const newer = { n: 2 }
    living.add('key', newer)
    for (let round = 0; round < 10; round++) {
      await new Promise(setImmediate)
      collect()
    }
    assert.equal(living.get('key'), newer)
  })
})

suite('turns', () => {
  test('come in the order of the calls where a key is shared, and at the same time where none is', async () => {
    const turns = new Turns()
    const log: string[] = []
    const gates = new Map(['first', 'other'].map((name) => [name, Promise.withResolvers<void>()]))
    const work = (name: string) => async () => {
      log.push(`${name} begins`)
      await gates.get(name)?.promise
      log.push(`${name} ends`)
    }
    const all = [
      turns.take(['a', 'b'], work('first')),
      turns.take(['b', 'c'], work('second')),
      turns.take(['c'], work('third')),
      turns.take(['d'], work('other')),
    ]
    await new Promise(setImmediate)
    assert.deepEqual(log, ['first begins', 'other begins'])
    gates.get('other')?.resolve()
    gates.get('first')?.resolve()
    await Promise.all(all)
    assert.deepEqual(log.slice(-5), ['first ends', 'second begins', 'second ends', 'third begins', 'third ends'])
  })

  test('go on behind work that failed', async () => {
    const turns = new Turns()
    const failing = turns.take(['a'], () => Promise.reject(new Error('no')))
    const next = turns.take(['a'], async () => 'done')
    await assert.rejects(failing, { message: 'no' })
    assert.equal(await next, 'done')
  })
})

suite('the calendar', () => {
  const yearMs = 365 * dayMs

  test('goes with the clocks as long as they agree', () => {
    const clock = new TestClock()
    const calendar = new Calendar(clock)
    const at = calendar.after(hourMs)
    assert.equal(at, clock.nowMs() + hourMs)
    clock.pass(hourMs - 1)
    assert.deepEqual([calendar.hasCome(at), calendar.elapsedSince(at)], [false, -1])
    clock.pass(1)
    assert.deepEqual([calendar.hasCome(at), calendar.elapsedSince(at)], [true, 0])
  })

  test('K10: no time comes early, and none lasts longer, when the clock is set', () => {
    for (const jumpMs of [10 * yearMs, -10 * yearMs, hourMs, -hourMs]) {
      const clock = new TestClock()
      const calendar = new Calendar(clock)
      const begun = calendar.nowMs
      const at = calendar.after(dayMs)
      clock.jump(jumpMs)
      clock.pass(dayMs - 1)
      assert.equal(calendar.hasCome(at), false)
      assert.equal(calendar.elapsedSince(begun) >= dayMs - 1, true)
      const later = calendar.after(dayMs)
      clock.jump(-jumpMs)
      clock.pass(dayMs - 1)
      assert.equal(calendar.hasCome(later), false)
    }
  })
})

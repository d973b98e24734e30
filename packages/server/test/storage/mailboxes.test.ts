import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Mailboxes } from '../../src/storage/mailboxes.ts'
import { randomFrom, seed } from './world.ts'

function contentOf(mailboxes: Mailboxes, mailbox: number): number[][] {
  const found: number[][] = []
  mailboxes.walk(mailbox, (...message) => found.push(message) > 0)
  return found
}

suite('mailboxes', () => {
  test('they hold what a plain list would, whatever is added and discarded', () => {
    const random = randomFrom(seed)
    const mailboxes = new Mailboxes()
    const model = new Map<number, number[][]>()
    let position = 2 ** 32 - 20_000 // over the edge of 32 bits on the way
    for (let i = 0; i < 40_000; i++) {
      const mailbox = 1 + random.below(20)
      const list = model.get(mailbox) ?? []
      if (random.below(10) > 0) {
        position += 1 + random.below(3)
        const bytes = random.below(2 ** 30)
        mailboxes.add(mailbox, position, bytes)
        model.set(mailbox, [...list, [position, bytes]])
      } else {
        const through = random.below(8) === 0 ? position : (list[random.below(list.length + 1)]?.[0] ?? 0)
        const keeping = list.flatMap(([at]) => (random.below(5) === 0 ? [at as number] : []))
        mailboxes.discard(mailbox, through, keeping)
        model.set(
          mailbox,
          list.filter(([at]) => (at as number) > through || keeping.includes(at as number)),
        )
      }
      const expected = model.get(mailbox) ?? []
      assert.deepEqual(contentOf(mailboxes, mailbox), expected, `seed ${seed}`)
      assert.equal(mailboxes.countOf(mailbox), expected.length)
      assert.equal(
        mailboxes.bytesOf(mailbox),
        expected.reduce((sum, [, bytes]) => sum + (bytes as number), 0),
      )
      const all = [...model.values()]
      assert.equal(
        mailboxes.count,
        all.reduce((sum, each) => sum + each.length, 0),
      )
    }
    const occupied = [...model].filter(([, list]) => list.length > 0).map(([mailbox]) => mailbox)
    assert.deepEqual([...mailboxes.occupied()].sort(), occupied.sort())
  })

  test('a walk ends when it is told to', () => {
    const mailboxes = new Mailboxes()
    for (let position = 1; position <= 5; position++) mailboxes.add(1, position, 10)
    const seen: number[] = []
    mailboxes.walk(1, (position) => {
      seen.push(position)
      return position < 3
    })
    assert.deepEqual(seen, [1, 2, 3])
  })

  test('I9 adding and discarding for ever takes no more memory', () => {
    const mailboxes = new Mailboxes()
    const round = (first: number): void => {
      for (let i = 0; i < 1000; i++) mailboxes.add(i % 10, first + i, 10)
      for (let mailbox = 0; mailbox < 10; mailbox++) mailboxes.discard(mailbox, first + 1000, [])
    }
    round(1)
    const before = process.memoryUsage().arrayBuffers
    for (let i = 1; i < 1000; i++) round(1 + i * 1000)
    assert(process.memoryUsage().arrayBuffers - before < 65_536 * 14, 'not one block more')
    assert.equal(mailboxes.count, 0)
    assert.deepEqual([...mailboxes.occupied()], [])
  })
})

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Mailboxes } from '../../src/storage/mailboxes.ts'
import { randomFrom, seed } from './world.ts'

function contentOf(mailboxes: Mailboxes, mailbox: number): number[][] {
  const found: number[][] = []
  mailboxes.walk(mailbox, (...message) => found.push(message) > 0)
  return found
}

suite('readers of mailboxes', () => {
  test('they show what a plain list would, whatever is added and discarded behind and before them', () => {
    const random = randomFrom(seed)
    const mailboxes = new Mailboxes()
    const model = new Map<number, number[]>()
    let position = 2 ** 32 - 5000
    const readers: { of: number; passed: number; reader: ReturnType<Mailboxes['reader']> }[] = []
    for (let i = 0; i < 30_000; i++) {
      const of = 1 + random.below(4)
      const list = model.get(of) ?? []
      const dice = random.below(60)
      if (dice < 40) {
        position += 1 + random.below(3)
        mailboxes.add(of, position, position % 1000)
        list.push(position)
        model.set(of, list)
      } else if (dice === 40) {
        const through = random.below(8) === 0 ? position : (list[random.below(list.length + 1)] ?? 0)
        mailboxes.discard(of, through, [])
        model.set(
          of,
          list.filter((at) => at > through),
        )
      } else if (dice < 45) {
        const near = (list[random.below(list.length + 1)] ?? 0) + random.below(3) - 1
        const passed = random.below(3) === 0 ? 0 : Math.min(near, position) // nobody is ahead of what was given out
        readers.push({ of, passed, reader: mailboxes.reader(of, passed) })
        if (readers.length > 50) readers.splice(random.below(50), 1)
      } else if (readers.length > 0) {
        const each = random.pick(readers)
        const next = model.get(each.of)?.find((at) => at > each.passed)
        assert.deepEqual(each.reader.peek(), next && { position: next, bytes: next % 1000 }, `seed ${seed}`)
        if (dice % 2 === 0) continue
        each.reader.advance()
        each.passed = next ?? each.passed
      }
      assert.equal(mailboxes.newestOf(of), model.get(of)?.at(-1) ?? 0)
      assert.equal(mailboxes.oldestOf(of), model.get(of)?.[0] ?? 0)
    }
  })

  test('one begins in the middle of a long mailbox without going through it', () => {
    const mailboxes = new Mailboxes()
    const count = 200_000
    for (let position = 1; position <= count; position++) mailboxes.add(1, position, 1)
    mailboxes.discard(1, 1000, [])
    const begun = cpuOf(() => {
      for (let after = 1; after < count; after += 97)
        assert.equal(mailboxes.reader(1, after).peek()?.position, Math.max(after, 1000) + 1)
    })
    const walked = cpuOf(() => {
      for (let i = 0; i < 200; i++) mailboxes.walk(1, () => true)
    })
    assert(begun < walked, `${count / 97} readers cost ${begun / 1000} ms, 200 walks ${walked / 1000} ms`)
  })
})

/** Microseconds of this process: other processes do not count. */
function cpuOf(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return user + system
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

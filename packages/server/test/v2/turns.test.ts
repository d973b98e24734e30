import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Budget } from '../../src/v2/host.ts'
import { Turns } from '../../src/v2/turns.ts'

const nextTurnOfLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Takes a turn and notes it under `name` when it comes. */
function wanting(turns: Turns, mailbox: number, came: string[], name: string) {
  const held: Disposable[] = []
  const waiting = turns.take(mailbox, (turn) => {
    came.push(name)
    held.push(turn)
  })
  return { leave: () => waiting[Symbol.dispose](), end: () => held[0]?.[Symbol.dispose]() }
}

test('a mailbox has one turn at a time, in the order in which it was wanted', async () => {
  const turns = new Turns()
  const came: string[] = []
  const [a, b, c] = ['a', 'b', 'c'].map((name) => wanting(turns, 1, came, name))
  assert.deepEqual(came, ['a'])
  a?.end()
  await nextTurnOfLoop()
  assert.deepEqual(came, ['a', 'b'])
  a?.end() // a second time: nothing
  await nextTurnOfLoop()
  assert.deepEqual(came, ['a', 'b'])
  b?.end()
  await nextTurnOfLoop()
  c?.end()
  assert.deepEqual(came, ['a', 'b', 'c'])
})

test('mailboxes do not wait for each other', () => {
  const turns = new Turns()
  const came: string[] = []
  wanting(turns, 1, came, 'a')
  wanting(turns, 2, came, 'b')
  assert.deepEqual(came, ['a', 'b'])
})

test('who leaves while waiting is passed over, also between the end of a turn and the next one', async () => {
  const turns = new Turns()
  const came: string[] = []
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => wanting(turns, 1, came, name))
  b?.leave()
  a?.end()
  c?.leave()
  await nextTurnOfLoop()
  assert.deepEqual(came, ['a', 'd'])
  d?.end()
  wanting(turns, 1, came, 'e')
  assert.deepEqual(came, ['a', 'd', 'e'])
})

test('a newcomer does not overtake those who wait', async () => {
  const turns = new Turns()
  const came: string[] = []
  const a = wanting(turns, 1, came, 'a')
  wanting(turns, 1, came, 'b')
  a.end()
  wanting(turns, 1, came, 'late')
  await nextTurnOfLoop()
  assert.deepEqual(came, ['a', 'b'])
})

test('I9 a queue of ten thousand that ends their turns at once is worked off without recursion', async () => {
  const turns = new Turns()
  let granted = 0
  const first: Disposable[] = []
  turns.take(1, (turn) => first.push(turn))
  for (let i = 0; i < 10_000; i++)
    turns.take(1, (turn) => {
      granted += 1
      turn[Symbol.dispose]()
    })
  first[0]?.[Symbol.dispose]()
  await turns.over()
  assert.equal(granted, 10_000)
})

test('it is over when nobody has a turn', async () => {
  const turns = new Turns()
  await turns.over()
  const came: string[] = []
  const a = wanting(turns, 1, came, 'a')
  const b = wanting(turns, 1, came, 'b')
  const over = turns.over().then(() => came.push('over'))
  a.end()
  await nextTurnOfLoop()
  assert.deepEqual(came, ['a', 'b'])
  b.end()
  await over
  assert.deepEqual(came, ['a', 'b', 'over'])
})

test('a budget gives what it has, and takes back once', () => {
  const budget = new Budget(10)
  const six = budget.take(6)
  assert.notEqual(six, undefined)
  assert.equal(budget.take(5), undefined)
  const four = budget.take(4)
  assert.equal(budget.take(1), undefined)
  six?.[Symbol.dispose]()
  six?.[Symbol.dispose]()
  assert.equal(budget.take(7), undefined)
  assert.notEqual(budget.take(6), undefined)
  four?.[Symbol.dispose]()
})

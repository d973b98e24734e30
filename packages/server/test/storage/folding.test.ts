import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { Folding } from '../../src/storage/folding.ts'
import { JournalEntry } from '../../src/storage/journal.ts'
import { readState } from '../../src/storage/load.ts'
import type { Discard } from '../../src/storage/records.ts'
import { rowDigest } from '../../src/storage/rows.ts'
import { migrate, openForWriting } from '../../src/storage/schema.ts'
import { temporaryFolder } from '../world.ts'
import { randomFrom, seed } from './world.ts'

type Message = readonly [recipient: number, position: number, bytes: number]

/** Commits journal rows as the writer does, without threads, and keeps what must be there beside it. */
class Journalling {
  readonly database: DatabaseSync
  /** What waits for whom, in order. */
  readonly expected = new Map<number, Message[]>()
  folding: Folding
  position = 0
  #number = 0

  constructor(file: string) {
    writeFileSync(file, '')
    migrate(file)
    this.database = openForWriting(file)
    this.database.exec('PRAGMA synchronous=OFF') // the machine does not crash in these tests
    this.folding = new Folding(this.database, 0)
  }

  commit(changes: readonly (Message | Discard)[]): void {
    const entry = new JournalEntry()
    const discards: Discard[] = []
    entry.begin(this.position)
    const insert = this.database.prepare('INSERT INTO messages(position, at, digest, sealed) VALUES(?, 0, 0, ?)')
    this.database.exec('BEGIN')
    for (const change of changes) {
      if ('through' in change) {
        const { recipient, through, keeping } = change
        entry.discarded(recipient, through, keeping)
        discards.push(change)
        const left = this.waitingFor(recipient).filter(([, at]) => at > through || keeping.includes(at))
        this.expected.set(recipient, left)
      } else {
        const [recipient, position, bytes] = change
        entry.added(recipient, position, bytes)
        insert.run(position, new Uint8Array(1))
        const waiting = this.waitingFor(recipient)
        waiting.push(change)
        this.expected.set(recipient, waiting)
        this.position = position
      }
    }
    const row = entry.bytes()
    const number = ++this.#number
    this.database
      .prepare('INSERT INTO journal(number, digest, changes) VALUES(?, ?, ?)')
      .run(number, rowDigest(number, row), row)
    this.database.exec('COMMIT')
    this.folding.committed({ discards, deedBytes: 0 })
  }

  waitingFor(recipient: number): Message[] {
    return this.expected.get(recipient) ?? []
  }

  /** As after a crash or a restart: nothing is remembered but what is in the database. */
  restart(): void {
    this.folding = new Folding(this.database, readState(this.database).journalRows)
  }

  /** A reload must find exactly what is expected, whatever was folded. */
  verify(): void {
    const { mailboxes, position } = readState(this.database)
    const found: Message[] = []
    for (const recipient of mailboxes.occupied())
      mailboxes.walk(recipient, (at, bytes) => found.push([recipient, at, bytes]) > 0)
    const byPosition = (one: Message, other: Message) => one[0] - other[0] || one[1] - other[1]
    assert.deepEqual(found.sort(byPosition), [...this.expected.values()].flat().sort(byPosition), `seed ${seed}`)
    assert.equal(position, this.position)
  }

  foldEverything(): number {
    let steps = 0
    while (this.rowsOf('journal') > 0) {
      this.folding.step(this.position, 0)
      steps += 1
    }
    return steps
  }

  rowsOf(table: string): number {
    return (this.database.prepare(`SELECT count(*) AS rows FROM ${table}`).get() as { rows: number }).rows
  }
}

async function startJournalling() {
  const folder = await temporaryFolder()
  const world = new Journalling(path.join(folder.path, 'server.db'))
  return Object.assign(world, {
    async [Symbol.asyncDispose]() {
      world.database.close()
      await folder[Symbol.asyncDispose]()
    },
  })
}

/** Somebody who fetches nothing. */
const sleeper = 6

/** A commit of some messages and discards, late and repeated ones among them. */
function someChanges(world: Journalling, random: ReturnType<typeof randomFrom>): (Message | Discard)[] {
  const changes: (Message | Discard)[] = []
  let position = world.position
  for (let count = random.below(8); count >= 0; count--) {
    const recipient = 1 + random.below(6)
    const waiting = world.waitingFor(recipient)
    if (random.below(3) > 0 || waiting.length === 0 || recipient === sleeper) {
      position += 1 + (random.below(20) === 0 ? 1 : 0)
      changes.push([recipient, position, 25 + random.below(1000)])
    } else {
      const through = random.pick(waiting)[1]
      const keeping = waiting.flatMap(([, at]) => (at < through && random.below(6) === 0 ? [at] : []))
      changes.push({ recipient, through, keeping, contents: [] })
      if (random.below(5) === 0)
        changes.push({ recipient, through: random.pick(waiting)[1], keeping: [], contents: [] })
    }
  }
  return changes
}

suite('folding', () => {
  test('after any steps a reload finds what it would have found without them', async () => {
    await using world = await startJournalling()
    const random = randomFrom(seed)
    for (let i = 0; i < 1500; i++) {
      world.commit(someChanges(world, random))
      if (random.below(40) === 0) world.folding.step(world.position, 0)
      if (random.below(100) === 0) world.restart()
      if (random.below(20) === 0) world.verify()
    }
    world.foldEverything()
    world.verify()
    for (const recipient of [1, 2, 3, 4, 5, 6])
      world.commit([{ recipient, through: world.position, keeping: [], contents: [] }])
    world.foldEverything()
    world.verify()
    assert.equal(world.rowsOf('messages'), 0, 'what nobody waits for is deleted')
    assert.equal(world.rowsOf('cold'), 0)
    assert.equal(world.rowsOf('cursors'), 6)
  })

  test('I7 a step that fails anywhere leaves the state before it', async () => {
    await using world = await startJournalling()
    const random = randomFrom(seed)
    for (let i = 0; i < 400; i++) world.commit(someChanges(world, random))
    world.foldEverything()
    for (let i = 0; i < 200; i++) world.commit(someChanges(world, random))
    for (const point of [
      'DELETE ON messages',
      'INSERT ON cold',
      'DELETE ON cold',
      'INSERT ON cursors',
      'DELETE ON journal',
      'INSERT ON meta',
    ]) {
      world.database.exec(`CREATE TEMP TRIGGER fault BEFORE ${point} BEGIN SELECT RAISE(ABORT, 'fault'); END`)
      assert.throws(() => world.folding.step(world.position, 0), /fault/, point)
      world.database.exec('ROLLBACK; DROP TRIGGER fault')
      world.verify()
    }
    world.foldEverything()
    world.verify()
  })

  test('a mailbox that sleeps has few rows, however often something comes for it', async () => {
    await using world = await startJournalling()
    const mailboxes = 20
    for (let round = 0; round < 150; round++) {
      world.commit(Array.from({ length: mailboxes }, (_, i): Message => [1 + i, world.position + 1 + i, 300]))
      world.foldEverything()
    }
    assert.equal(world.rowsOf('cold'), mailboxes)
    for (let round = 0; round < 20; round++) {
      world.commit(Array.from({ length: 400 }, (_, i): Message => [1, world.position + 1 + i, 300]))
      world.foldEverything()
    }
    const longest = world.database.prepare('SELECT max(length(positions)) AS bytes FROM cold').get() as {
      bytes: number
    }
    assert(world.rowsOf('cold') > mailboxes && longest.bytes < 512 + 400 * 8, `${longest.bytes} bytes in a row`)
    world.verify()
    for (const recipient of [1, 2]) world.commit([{ recipient, through: 2000, keeping: [], contents: [] }])
    world.foldEverything()
    world.verify()
    assert.equal(
      world.rowsOf('messages'),
      world.expected.values().reduce((sum, { length }) => sum + length, 0),
    )
  })

  test('a late discard of less does not bring back what a discard of more forgot', async () => {
    await using world = await startJournalling()
    const all: Message[] = [1, 2, 3, 4, 5].map((position) => [1, position, 100])
    world.commit(all)
    world.foldEverything()
    world.commit([{ recipient: 1, through: 4, keeping: [], contents: [] }])
    world.foldEverything()
    world.commit([{ recipient: 1, through: 2, keeping: [1], contents: [] }])
    world.foldEverything()
    world.verify()
    assert.deepEqual(world.waitingFor(1), [[1, 5, 100]])
  })

  test('what was fetched before its row is folded is deleted without a detour', async () => {
    await using world = await startJournalling()
    for (let position = 1; position <= 600; position++) world.commit([[1, position, 100]])
    world.commit([{ recipient: 1, through: 600, keeping: [], contents: [] }])
    world.folding.step(world.position, 0)
    assert.equal(world.rowsOf('cold'), 0)
    assert(world.rowsOf('messages') < 600)
    world.verify()
  })

  test('C16 a cold row that is emptied in part loses at once what was forgotten', async () => {
    await using world = await startJournalling()
    world.commit([1, 2, 3, 4].map((position): Message => [1, position, 100]))
    world.foldEverything()
    assert.equal(world.rowsOf('cold'), 1)
    world.commit([{ recipient: 1, through: 2, keeping: [], contents: [] }])
    world.foldEverything()
    world.verify()
    assert.equal(world.rowsOf('messages'), 2)
    world.commit([{ recipient: 1, through: 4, keeping: [3], contents: [] }])
    world.foldEverything()
    world.verify()
    assert.equal(world.rowsOf('messages'), 1, 'what is kept stays')
  })

  test('a large mailbox is emptied in steps that are short', async () => {
    await using world = await startJournalling()
    const count = 40_000
    for (let position = 1; position <= count; position += 1000)
      world.commit(Array.from({ length: 1000 }, (_, i): Message => [1, position + i, 100]))
    world.foldEverything()
    assert.equal(world.rowsOf('messages'), count)
    world.commit([{ recipient: 1, through: count, keeping: [1, 20_000], contents: [] }])
    let left = count
    while (world.rowsOf('journal') > 0) {
      world.folding.step(world.position, 0)
      const now = world.rowsOf('messages')
      assert(left - now <= 2 * 8192, `${left - now} at once`)
      assert(world.rowsOf('journal') === 0 || world.folding.idleMs <= 100, 'it goes on soon')
      left = now
      world.verify()
    }
    assert.equal(left, 2)
  })

  test('a quiet journal is left alone, a long one is folded soon, a very long one at once', async () => {
    await using world = await startJournalling()
    assert(world.folding.idleMs > 1e6)
    world.commit([[1, 1, 100]])
    assert(world.folding.idleMs > 1000 && world.folding.idleMs < 60_000)
    for (let position = 2; position <= 300; position++) world.commit([[1, position, 100]])
    assert(world.folding.idleMs <= 100)
    assert(!world.folding.overdue)
    world.folding.postpone()
    assert(world.folding.idleMs <= 100, 'it is tried again')
    world.foldEverything()
    world.folding.step(world.position, 0)
    assert(world.folding.idleMs > 1e6)
    assert(new Folding(world.database, 65_537).overdue)
  })

  test('what was begun in a quiet moment goes on until it is done, or until something comes', async () => {
    await using world = await startJournalling()
    for (let position = 1; position <= 30_000; position += 5000)
      world.commit(Array.from({ length: 5000 }, (_, i): Message => [1, position + i, 100]))
    assert(world.folding.idleMs > 1000)
    world.folding.step(world.position, 0)
    assert(world.rowsOf('journal') > 0 && world.folding.idleMs <= 100)
    world.commit([[2, 30_001, 100]])
    assert(world.folding.idleMs > 1000)
  })

  test('K06 damage in a journal row or a cold row stops it, and nothing is deleted', async () => {
    for (const [table, column] of [
      ['journal', 'changes'],
      ['cold', 'positions'],
    ] as const) {
      await using world = await startJournalling()
      world.commit([1, 2].map((position): Message => [1, position, 100]))
      world.foldEverything()
      world.commit([{ recipient: 1, through: 2, keeping: [], contents: [] }])
      world.database.exec(`UPDATE ${table} SET ${column} = x'000000'`)
      assert.throws(() => world.folding.step(world.position, 0), { name: 'DamagedStorage', object: 'server.db' })
      if (world.database.isTransaction) world.database.exec('ROLLBACK')
      assert.equal(world.rowsOf('messages'), 2)
    }
  })
})

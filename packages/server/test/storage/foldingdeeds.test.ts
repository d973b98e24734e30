import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { limits as protocol } from '@messageu/protocol/v3'
import { archiveLimits, type SentRecord } from '../../src/archive.ts'
import { ArchiveReader } from '../../src/storage/archivereader.ts'
import { Deeds, unpackSent } from '../../src/storage/deeds.ts'
import { Folding } from '../../src/storage/folding.ts'
import { JournalEntry } from '../../src/storage/journal.ts'
import { rowDigest } from '../../src/storage/rows.ts'
import { migrate, openForWriting } from '../../src/storage/schema.ts'
import { temporaryFolder } from '../world.ts'
import { newSendId } from './archiveworld.ts'
import { randomFrom, seed } from './world.ts'

type Deed = SentRecord | { readonly device: number; readonly through: number }

/** Commits journal rows with deeds in them as the writer does, and folds them, without threads. */
class Journalling {
  readonly database: DatabaseSync
  readonly reader: ArchiveReader
  readonly records = new Map<number, Map<number, SentRecord>>()
  readonly acknowledged = new Map<number, number>()
  folding: Folding
  #number = 0

  constructor(file: string) {
    writeFileSync(file, '')
    migrate(file)
    this.database = openForWriting(file)
    this.database.exec('PRAGMA synchronous=OFF') // the machine does not crash in these tests
    this.folding = new Folding(this.database, 0)
    this.reader = new ArchiveReader(this.database)
  }

  commit(done: readonly Deed[]): void {
    const entry = new JournalEntry()
    const deeds = new Deeds()
    entry.begin(0)
    deeds.begin()
    for (const deed of done) {
      if ('through' in deed) {
        deeds.acknowledged(deed.device, deed.through)
        this.acknowledged.set(deed.device, Math.max(this.acknowledged.get(deed.device) ?? 0, deed.through))
      } else {
        deeds.sent(deed, Buffer.concat([deed.digest, deed.id]), 0)
        const own = this.records.get(deed.device) ?? new Map<number, SentRecord>()
        this.records.set(deed.device, own.set(deed.number, deed))
      }
    }
    const number = ++this.#number
    const [changes, bytes] = [entry.bytes(), deeds.bytes()]
    this.database
      .prepare('INSERT INTO journal(number, digest, changes, deeds_digest, deeds) VALUES(?, ?, ?, ?, ?)')
      .run(number, rowDigest(number, changes), changes, rowDigest(number, bytes), bytes)
    this.folding.committed({ discards: [], deedBytes: bytes.length })
  }

  /** What is read back is what was committed, wherever it lies by now; only `some` numbers are looked up one by one. */
  verify(some: (number: number) => boolean = () => true): void {
    for (const [device, records] of this.records) {
      const highest = Math.max(...records.keys())
      const recent = unpackSent(device, this.reader.sends({ kind: 'sends', device }))
      const expected = [...records.values()].filter(({ number }) => number > highest - archiveLimits.recentSends)
      assert.deepEqual(recent.sort(byNumber), expected.sort(byNumber), `device ${device}, seed ${seed}`)
      for (const [number, record] of records)
        if (some(number))
          assert.deepEqual(
            this.reader.sent({ kind: 'sent', device, number }),
            record,
            `${device}/${number}, seed ${seed}`,
          )
      assert.equal(this.reader.sent({ kind: 'sent', device, number: highest + 1 }), undefined)
    }
    for (const [device, through] of this.acknowledged)
      assert.equal(
        this.reader.acknowledged({ kind: 'acknowledged', device }),
        through,
        `device ${device}, seed ${seed}`,
      )
  }

  foldEverything(now = 0): number {
    let steps = 0
    for (; this.rowsOf('journal') > 0; steps++) this.folding.step(0, now)
    return steps
  }

  rowsOf(table: string): number {
    return (this.database.prepare(`SELECT count(*) AS rows FROM ${table}`).get() as { rows: number }).rows
  }
}

const byNumber = (one: SentRecord, other: SentRecord): number => one.number - other.number

function send(device: number, number: number, at = 0): SentRecord {
  const digest = Uint8Array.from({ length: 8 }, (_, i) => number + i)
  return { device, number, id: newSendId(), conversation: 3, sequence: number, position: 10 * number, at, digest }
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

suite('folding what devices did', () => {
  test('whatever is folded, it is found: numbers in any order, and with gaps', async () => {
    await using world = await startJournalling()
    const random = randomFrom(seed)
    const next = new Map<number, number>()
    const late: SentRecord[] = []
    for (let round = 0; round < 1500; round++) {
      const done: Deed[] = []
      for (let count = random.below(12); count >= 0; count--) {
        const device = 1 + random.below(6)
        if (random.below(6) === 0) done.push({ device: 10 + device, through: random.below(10_000) })
        const number = (next.get(device) ?? 0) + 1 + (random.below(30) === 0 ? random.below(2000) : 0)
        next.set(device, number)
        if (random.below(15) === 0) late.push(send(device, number, round))
        else done.push(send(device, number, round))
      }
      while (late.length > random.below(100)) done.push(late.shift() as SentRecord)
      world.commit(done)
      if (random.below(60) > 0) continue
      world.verify((number) => number % 20 === round % 20)
      world.folding.step(0, 0)
      world.verify((number) => number % 20 === round % 20)
    }
    world.verify()
    world.foldEverything()
    world.verify()
  })

  test('the journal is found again by who begins to look later', async () => {
    await using world = await startJournalling()
    for (let number = 1; number <= 3000; number++) world.commit([send(1, number), { device: 2, through: number }])
    world.verify()
    for (let step = 0; step < 8; step++) {
      world.folding.step(0, 0)
      const late = new ArchiveReader(world.database)
      assert.equal(unpackSent(1, late.sends({ kind: 'sends', device: 1 })).at(-1)?.number, 3000)
      assert.equal(late.acknowledged({ kind: 'acknowledged', device: 2 }), 3000)
      world.verify()
    }
  })

  test('I7 a step that fails anywhere leaves the state before it', async () => {
    await using world = await startJournalling()
    for (let number = 1; number <= 100; number++) world.commit([send(1, number), { device: 2, through: number }])
    for (const point of ['INSERT ON accepted', 'INSERT ON acknowledged', 'DELETE ON journal']) {
      world.database.exec(`CREATE TEMP TRIGGER fault BEFORE ${point} BEGIN SELECT RAISE(ABORT, 'fault'); END`)
      assert.throws(() => world.folding.step(0, 0), /fault/, point)
      world.database.exec('ROLLBACK; DROP TRIGGER fault')
      assert.equal(world.rowsOf('journal'), 100)
      world.verify()
    }
    world.foldEverything()
    world.verify()
  })

  test('a step is short, however many devices have sent', async () => {
    await using world = await startJournalling()
    for (let row = 0; row < 20; row++) world.commit(Array.from({ length: 500 }, (_, i) => send(1 + 500 * row + i, 1)))
    let before = 0
    while (world.rowsOf('journal') > 0) {
      world.folding.step(0, 0)
      const now = world.rowsOf('accepted')
      assert(now - before <= 8192 / 4 + 500, `${now - before} rows at once`)
      before = now
    }
    assert.equal(before, 10_000)
  })

  test('many bytes of deeds are folded even under load', async () => {
    await using world = await startJournalling()
    assert(!world.folding.overdue)
    world.folding.committed({ discards: [], deedBytes: 33 * 2 ** 20 })
    assert(world.folding.overdue)
    assert(new Folding(world.database, 1, 33 * 2 ** 20).overdue)
    world.folding.step(0, 0)
    assert(!world.folding.overdue)
  })

  test('C16 sends are forgotten when they need not be known any more, and the highest number stays', async () => {
    await using world = await startJournalling()
    const { acceptedMs } = protocol
    const day = 86_400_000
    for (let device = 1; device <= 600; device++) world.commit([send(device, 1, 0), send(device, 2, 0)])
    world.foldEverything()
    world.commit([send(1, 3, 10 * day), send(2, 3, 10 * day)])
    world.foldEverything()
    const sweep = (now: number): void => {
      for (world.folding.step(0, now); world.folding.idleMs < 1000; ) world.folding.step(0, now)
    }
    sweep(acceptedMs)
    assert.equal(world.rowsOf('accepted'), 602, 'none is old enough')
    sweep(acceptedMs + 1000)
    assert.equal(world.rowsOf('accepted'), 602, 'it is not looked every moment')
    sweep(acceptedMs + day)
    assert.equal(world.rowsOf('accepted'), 600)
    const numbersOf = (device: number) =>
      unpackSent(device, world.reader.sends({ kind: 'sends', device })).map(({ number }) => number)
    assert.deepEqual([numbersOf(1), numbersOf(2), numbersOf(3)], [[3], [3], [1, 2]])
  })

  test('K06 damage in what devices did is named, and nothing is deleted', async () => {
    await using world = await startJournalling()
    world.commit([send(1, 1), { device: 1, through: 5 }])
    world.foldEverything()
    world.commit([send(1, 2), { device: 1, through: 6 }])
    const ask = {
      'UPDATE accepted SET first = 0': () => world.reader.sent({ kind: 'sent', device: 1, number: 1 }),
      'UPDATE acknowledged SET through = 4': () => world.reader.acknowledged({ kind: 'acknowledged', device: 1 }),
      "UPDATE journal SET deeds = x'00' WHERE deeds IS NOT NULL": () =>
        new ArchiveReader(world.database).sends({ kind: 'sends', device: 1 }),
    }
    for (const [statement, asking] of Object.entries(ask)) {
      world.database.exec(`BEGIN; ${statement}`)
      assert.throws(asking, { name: 'DamagedStorage', object: 'server.db' }, statement)
      world.database.exec('ROLLBACK')
    }
    world.database.exec("UPDATE journal SET deeds = x'00'")
    assert.throws(() => world.folding.step(0, 0), { name: 'DamagedStorage' })
    assert.deepEqual([world.rowsOf('journal'), world.rowsOf('accepted')], [1, 1])
  })
})

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import type { Archive } from '../../src/archive.ts'
import { openSqliteIn, temporaryFolder } from '../world.ts'
import { allOf, box, contentsOf, message, newSendId, sent, startArchive, text } from './archiveworld.ts'
import { copyOf } from './world.ts'

/** Changes one stored value behind SQLite's back, as a disk would, while nobody has the folder open. */
function alter(folder: string, statement: string): void {
  const database = new DatabaseSync(path.join(folder, 'server.db'))
  database.exec(statement)
  assert((database.prepare('SELECT changes() AS rows').get() as { rows: number }).rows > 0)
  database.close()
}

/** A closed archive with something of everything in it, none of it folded. */
async function startStored(): Promise<{ folder: string } & AsyncDisposable> {
  const folder = await temporaryFolder()
  await using storage = await openSqliteIn(folder.path)
  const { archive } = storage
  await archive.step({ objects: [{ kind: 'account', key: text('a'), value: text('one') }] })
  await archive.step({ objects: [{ kind: 'account', key: text('b'), value: text('two') }] })
  for (const content of ['one', 'two', 'three']) await archive.step({ messages: [message(box(0), content)] })
  await archive.step({ messages: [sent(box(1), 1, 1, randomBytes(70_000))], acknowledged: { device: 1, through: 3 } })
  return { folder: folder.path, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

const damaged = { name: 'DamagedStorage', object: 'server.db' }

suite('K06 damage to what version 3 keeps', () => {
  const asking: [what: string, statement: string, ask: (archive: Archive) => Promise<unknown>][] = [
    [
      'an object',
      "UPDATE objects SET value = CAST('eve' AS BLOB) WHERE key = CAST('a' AS BLOB)",
      (archive) => archive.get('account', text('a')),
    ],
    [
      'the key of an object',
      "UPDATE objects SET key = CAST('c' AS BLOB) WHERE key = CAST('a' AS BLOB)",
      (archive) => archive.get('account', text('c')),
    ],
    [
      'the kind of an object',
      'UPDATE objects SET kind = 7',
      (archive) => archive.scan('device', { prefix: text(''), limit: 5 }),
    ],
    ['what devices did', "UPDATE journal SET deeds = x'00' WHERE deeds IS NOT NULL", (archive) => archive.sends(1)],
    [
      'whose deeds they are',
      'UPDATE journal SET deeds_digest = deeds_digest + 1 WHERE deeds IS NOT NULL',
      (archive) => archive.acknowledged(1),
    ],
  ]
  for (const [what, statement, ask] of asking)
    test(`${what} is told to who asks for it, and to nobody else`, async () => {
      await using stored = await startStored()
      alter(stored.folder, statement)
      await using storage = await openSqliteIn(stored.folder)
      await assert.rejects(ask(storage.archive), damaged)
      assert.deepEqual(await contentsOf(storage.archive, box(0)), ['one', 'two', 'three'])
      await storage.archive.step({ objects: [{ kind: 'name', key: text('n'), value: text('goes on') }] })
      assert.deepEqual(await storage.archive.get('name', text('n')), text('goes on'))
    })

  test('a message whose row is damaged or missing is read as nothing, and the others as they are', async () => {
    for (const statement of [
      'UPDATE messages SET sealed = zeroblob(length(sealed)) WHERE position = 2',
      'DELETE FROM messages WHERE position = 2',
      'UPDATE messages SET (sealed, digest) = (SELECT sealed, digest FROM messages WHERE position = 1) WHERE position = 2',
    ]) {
      await using stored = await startStored()
      alter(stored.folder, statement)
      await using storage = await openSqliteIn(stored.folder)
      assert.deepEqual(await contentsOf(storage.archive, box(0)), ['one', 'damaged', 'three'])
    }
  })

  test('a large message whose file is damaged or missing is read as nothing', async () => {
    const changes: ((file: string) => void)[] = [
      (file) => truncateSync(file, 69_999),
      (file) => rmSync(file),
      (file) => writeFileSync(file, randomBytes(70_000)),
    ]
    for (const change of changes) {
      await using stored = await startStored()
      change(path.join(stored.folder, 'content', '1'))
      await using storage = await openSqliteIn(stored.folder)
      assert.deepEqual(await contentsOf(storage.archive, box(1)), ['damaged'])
      assert.equal(storage.archive.countOf(box(1)), 1)
    }
  })
})

suite('an archive whose storage fails', () => {
  test('K11 a writer that dies rejects what waits and everything after, files in front of it included', async () => {
    await using world = await startArchive('sqlite')
    const { archive, storage, folder } = world
    await archive.step({ messages: [message(box(0), 'durable')] })
    const intruder = new DatabaseSync(path.join(folder, 'server.db'), { timeout: 5000 })
    intruder.exec('INSERT INTO messages(position, at, digest, sealed) VALUES(2, 0, 0, zeroblob(25))')
    intruder.close()
    const steps = [
      archive.step({ messages: [sent(box(0), 1, 1, 'collides')] }),
      archive.step({ messages: [message(box(0), randomBytes(100_000))] }),
      archive.step({ objects: [{ kind: 'account', key: text('a'), value: text('b') }] }),
    ]
    for (const step of steps) await assert.rejects(step, /UNIQUE/)
    await assert.rejects(storage.failed, /UNIQUE/)
    await assert.rejects(archive.step({ trims: [{ box: box(0), through: 1 }] }), /UNIQUE/)
    assert.deepEqual(await contentsOf(archive, box(0)), ['durable'], 'reads go on')
    assert.equal(await archive.get('account', text('a')), undefined)
  })

  test('K05 a file that cannot be written refuses its step and what is behind it, and what is in front goes on', async () => {
    await using world = await startArchive('sqlite')
    const { archive, folder } = world
    const incoming = path.join(folder, 'content', 'incoming')
    writeFileSync(path.join(incoming, '2'), 'in the way')
    const large = () => ({ messages: [message(box(0), randomBytes(100_000))] })
    const second = sent(box(0), 1, 1, randomBytes(100_000))
    const steps = [
      archive.step(large()),
      archive.step({ messages: [second] }),
      archive.step(large()),
      archive.step({ messages: [message(box(1), 'behind')] }),
    ]
    const outcomes = await Promise.allSettled(steps)
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected', 'rejected', 'rejected'],
    )
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') assert.equal(outcome.reason.reason, 'storage-full')
    assert.equal((await archive.sends(1)).highest, 0)
    await archive.step({ messages: [message(box(1), 'later'), second] })
    assert.deepEqual([archive.countOf(box(0)), archive.countOf(box(1))], [2, 1])
    const files = (): string[] => readdirSync(path.join(folder, 'content')).filter((name) => name !== 'incoming')
    while (files().length > 2) await new Promise((resolve) => setTimeout(resolve, 10)) // what was written in vain goes
    assert.equal(files().length, 2)
  })

  test('I9 more than may wait is busy, and the rest is stored in its order', async () => {
    await using world = await startArchive('sqlite')
    const { archive, folder } = world
    const intruder = new DatabaseSync(path.join(folder, 'server.db'), { timeout: 5000 })
    intruder.exec('BEGIN IMMEDIATE')
    const value = randomBytes(2 ** 20)
    const steps = Array.from({ length: 120 }, (_, i) =>
      archive.step({
        objects: [{ kind: 'account', key: text(String(i)), value }],
        messages: [message(box(0), String(i))],
      }),
    )
    intruder.exec('ROLLBACK')
    intruder.close()
    const outcomes = await Promise.allSettled(steps)
    const stored = outcomes.filter(({ status }) => status === 'fulfilled').length
    assert(stored > 60 && stored < 90, `${stored} were stored`)
    assert(outcomes.slice(0, stored).every(({ status }) => status === 'fulfilled'))
    for (const outcome of outcomes.slice(stored))
      assert.equal(outcome.status === 'rejected' && outcome.reason.reason, 'busy')
    assert.deepEqual(
      await contentsOf(archive, box(0)),
      Array.from({ length: stored }, (_, i) => String(i)),
    )
  })

  test('I9 large messages that wait for their files are bounded as well', async () => {
    await using world = await startArchive('sqlite')
    const { archive } = world
    const content = randomBytes(4 * 2 ** 20)
    const steps = Array.from({ length: 20 }, () => archive.step({ messages: [{ ...message(box(0), ''), content }] }))
    const outcomes = await Promise.allSettled(steps)
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 15)
    for (const outcome of outcomes.slice(15))
      assert.equal(outcome.status === 'rejected' && outcome.reason.reason, 'busy')
    await archive.step({ messages: [{ ...message(box(0), ''), content }] })
    assert.equal(archive.countOf(box(0)), 16)
  })

  test('closing settles what waits for files and what waits for the ring', async () => {
    await using world = await startArchive('sqlite')
    const { archive } = world
    const id = newSendId()
    const steps = Array.from({ length: 30 }, (_, i) =>
      archive.step({ messages: [{ box: box(0), id, content: randomBytes(i % 3 === 0 ? 100_000 : 60_000) }] }),
    )
    await world.restart()
    assert((await Promise.allSettled(steps)).every(({ status }) => status === 'fulfilled'))
    assert.equal(allOf(world.archive.reader(box(0), 0)).length, 30)
  })

  test('a crash between a trim and the removal of its contents leaves them to the next start', async () => {
    await using world = await startArchive('sqlite')
    const { archive, folder } = world
    await archive.step({ messages: [message(box(0), randomBytes(70_000)), message(box(0), randomBytes(70_000))] })
    const crashed = copyOf(folder, 'crashed')
    await archive.step({ trims: [{ box: box(0), through: archive.newestOf(box(0)) - 1 }] })
    await world.storage[Symbol.asyncDispose]()
    // the journal with the trim, and the contents as they were in front of it
    const before = new DatabaseSync(path.join(crashed, 'server.db'))
    before.prepare('ATTACH ? AS later').run(path.join(folder, 'server.db'))
    before.exec('DELETE FROM journal; INSERT INTO journal SELECT * FROM later.journal')
    before.close()
    assert.equal(contentRowsIn(crashed), 2)
    await using storage = await openSqliteIn(crashed)
    await storage.archive.step({}) // behind what the start clears away
    assert.equal(contentRowsIn(crashed), 1)
    assert.equal(readdirSync(path.join(crashed, 'content')).length, 2)
    const [kept] = await storage.archive.read(allOf(storage.archive.reader(box(0), 0)))
    assert.equal(kept?.content.length, 70_000)
    await storage[Symbol.asyncDispose]()
    rmSync(crashed, { recursive: true })
  })

  test('a content that could not be removed at a trim is removed by the next start', async () => {
    await using world = await startArchive('sqlite')
    const { archive, folder } = world
    await archive.step({ messages: [message(box(0), randomBytes(70_000))] })
    rmSync(path.join(folder, 'content', '1'))
    mkdirSync(path.join(folder, 'content', '1')) // nothing that can be unlinked
    await archive.step({ trims: [{ box: box(0), through: archive.position }] })
    await archive.step({})
    rmSync(path.join(folder, 'content', '1'), { recursive: true })
    writeFileSync(path.join(folder, 'content', '1'), 'as a crash would leave it')
    await world.restart()
    assert.deepEqual(readdirSync(path.join(folder, 'content')), ['incoming'])
  })
})

function contentRowsIn(folder: string): number {
  const database = new DatabaseSync(path.join(folder, 'server.db'), { readOnly: true })
  const { rows } = database.prepare('SELECT count(*) AS rows FROM contents').get() as { rows: number }
  database.close()
  return rows
}

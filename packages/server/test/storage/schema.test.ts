import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { migrate, openForWriting, schemaVersion } from '../../src/storage/schema.ts'
import { openSqliteIn, registered, temporaryFolder } from '../world.ts'
import { heard, send } from './world.ts'

suite('schema', () => {
  test('a new database gets the schema of this program', async () => {
    await using folder = await temporaryFolder()
    const file = path.join(folder.path, 'server.db')
    writeFileSync(file, '')
    migrate(file)
    migrate(file)
    const database = new DatabaseSync(file)
    assert.deepEqual({ ...database.prepare('PRAGMA user_version').get() }, { user_version: schemaVersion })
    database.close()
  })

  test('K02 commits are durable before they are answered: WAL and synchronous=FULL', async () => {
    await using folder = await temporaryFolder()
    const database = openForWriting(path.join(folder.path, 'server.db'))
    assert.deepEqual({ ...database.prepare('PRAGMA synchronous').get() }, { synchronous: 2 })
    assert.deepEqual({ ...database.prepare('PRAGMA journal_mode').get() }, { journal_mode: 'wal' })
    database.close()
    assert.throws(() => openForWriting(':memory:'), /refuses durable commits/)
  })

  test('U03 a newer database is refused, and not touched', async () => {
    await using folder = await temporaryFolder()
    await (await openSqliteIn(folder.path))[Symbol.asyncDispose]()
    const file = path.join(folder.path, 'server.db')
    const newer = new DatabaseSync(file)
    newer.exec(
      `PRAGMA user_version=${schemaVersion + 1}; CREATE TABLE of_the_future(a); INSERT INTO of_the_future VALUES(1)`,
    )
    const [before, log] = [readFileSync(file), readFileSync(`${file}-wal`)]
    newer.close()
    writeFileSync(file, before) // as a crash would have left it
    writeFileSync(`${file}-wal`, log)
    await assert.rejects(openSqliteIn(folder.path), /by a newer program/)
    assert(readFileSync(file).equals(before))
    assert(readFileSync(`${file}-wal`).equals(log))
  })

  test('a database of another program is refused, and not touched', async () => {
    await using folder = await temporaryFolder()
    const file = path.join(folder.path, 'server.db')
    const other = new DatabaseSync(file)
    other.exec('CREATE TABLE theirs(a); INSERT INTO theirs VALUES(1)')
    other.close()
    const before = readFileSync(file)
    await assert.rejects(openSqliteIn(folder.path), { name: 'DamagedStorage', object: 'server.db' })
    assert(readFileSync(file).equals(before))
  })

  test('a file that is no database is refused, and not touched', async () => {
    await using folder = await temporaryFolder()
    const file = path.join(folder.path, 'server.db')
    const before = Buffer.alloc(10_000, 'not a database ')
    writeFileSync(file, before)
    await assert.rejects(openSqliteIn(folder.path), { name: 'DamagedStorage', object: 'server.db' })
    assert(readFileSync(file).equals(before))
  })

  test('a start that was cut short while the database was made is done again', async () => {
    await using folder = await temporaryFolder()
    const file = path.join(folder.path, 'server.db')
    writeFileSync(file, '')
    const half = new DatabaseSync(file)
    half.exec('PRAGMA journal_mode=DELETE; PRAGMA cache_size=1; BEGIN; CREATE TABLE meta(a)')
    half.exec(
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO meta SELECT randomblob(1000) FROM n',
    )
    const [database, journal] = [readFileSync(file), readFileSync(`${file}-journal`)]
    assert(database.length > 0 && journal.length > 0)
    half.exec('ROLLBACK')
    half.close()
    writeFileSync(file, database)
    writeFileSync(`${file}-journal`, journal)
    await using storage = await openSqliteIn(folder.path)
    const alice = await registered(storage, 'alice')
    const { bytes } = await send(storage, alice, alice, 'hello')
    assert.deepEqual(await heard(storage, alice), bytes)
  })
})

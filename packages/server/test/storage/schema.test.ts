import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { rowDigest } from '../../src/storage/rows.ts'
import { migrate, openForWriting, schemaVersion } from '../../src/storage/schema.ts'
import type { Client } from '../../src/storage.ts'
import { openSqliteIn, registered, temporaryFolder } from '../world.ts'
import { box, contentsOf, message } from './archiveworld.ts'
import { copyOf, heard, send, sendFile } from './world.ts'

/** A folder as the first version of this program has left it. */
async function firstVersionIn(folder: string): Promise<{ client: Client; expected: Buffer }> {
  const storage = await openSqliteIn(folder)
  const client = await registered(storage, 'alice')
  const picture = randomBytes(100_000)
  const sent = [await send(storage, client, client, 'one'), await sendFile(storage, client, client, picture)]
  await storage[Symbol.asyncDispose]()
  const [file, old] = ['server.db', 'old.db'].map((name) => path.join(folder, name)) as [string, string]
  writeFileSync(old, '')
  migrate(old, 1)
  const database = new DatabaseSync(old)
  database.prepare('ATTACH ? AS newer').run(file)
  for (const table of ['meta', 'clients', 'messages', 'contents', 'journal', 'cold', 'cursors']) {
    const columns = database.prepare(`SELECT group_concat(name) AS names FROM pragma_table_info('${table}')`).get()
    database.exec(`INSERT INTO main.${table} SELECT ${columns?.names} FROM newer.${table}`)
  }
  const digest = crc32(picture)
  database
    .prepare('UPDATE main.contents SET content_digest = ?, digest = ?')
    .run(digest, rowDigest(1, sent[1]?.position ?? 0, picture.length, digest))
  database.close()
  renameSync(old, file)
  return { client, expected: Buffer.concat(sent.map(({ bytes }) => bytes)) }
}

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

  test('U01 a database of the first version opens, with everything in it', async () => {
    await using folder = await temporaryFolder()
    const { client, expected } = await firstVersionIn(folder.path)
    await using storage = await openSqliteIn(folder.path)
    assert.deepEqual(await heard(storage, client), expected)
    await storage.archive.step({ messages: [message(box(0), 'new')], objects: [] })
    await storage[Symbol.asyncDispose]()
    await using again = await openSqliteIn(folder.path)
    assert.deepEqual(await heard(again, client), expected)
    assert.deepEqual(await contentsOf(again.archive, box(0)), ['new'])
    const content = path.join(folder.path, 'content', '1')
    const bytes = readFileSync(content)
    bytes.writeUInt8(bytes.readUInt8(5) ^ 1, 5)
    writeFileSync(content, bytes)
    await assert.rejects(heard(again, client), { name: 'DamagedStorage', object: 'content/1' })
  })

  test('U02 a crash at any statement of a migration leaves the old version or the new one, and both open', async (context) => {
    await using folder = await temporaryFolder()
    const { client, expected } = await firstVersionIn(folder.path)
    const crashed: string[] = []
    const exec = DatabaseSync.prototype.exec
    context.mock.method(DatabaseSync.prototype, 'exec', function (this: DatabaseSync, statements: string) {
      for (const statement of statements.split(/(?<=;)/)) {
        crashed.push(copyOf(folder.path, String(crashed.length)))
        exec.call(this, statement)
      }
    })
    migrate(path.join(folder.path, 'server.db'))
    context.mock.restoreAll()
    crashed.push(copyOf(folder.path, 'end'))
    assert(crashed.length > 8)
    for (const copy of crashed) {
      await using storage = await openSqliteIn(copy)
      assert.deepEqual(await heard(storage, client), expected, copy)
      await storage[Symbol.asyncDispose]()
      rmSync(copy, { recursive: true })
    }
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

import assert from 'node:assert/strict'
import { chmod, cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, suite, test } from 'node:test'
import { examine, type Finding } from '../../src/admin/doctor.ts'
import { Folding } from '../../src/storage/folding.ts'
import { rowDigest } from '../../src/storage/rows.ts'
import { migrate, openForWriting } from '../../src/storage/schema.ts'
import { openSqliteIn, registered, temporaryFolder } from '../world.ts'
import { changeByte, contentOf, give, live } from './lived.ts'

const sql = (folder: string, statement: string): void => {
  const database = new DatabaseSync(path.join(folder, 'server.db'))
  database.exec(statement)
  database.close()
}

/** Folds the whole journal of a closed storage. */
function fold(folder: string): void {
  const database = openForWriting(path.join(folder, 'server.db'))
  new Folding(database, 1).step(0, 0)
  database.close()
}

/** Gives a row of accepted sends a range that is not that of its records, with a digest that matches. */
function renumber(folder: string): void {
  const database = openForWriting(path.join(folder, 'server.db'))
  const row = database.prepare('SELECT records FROM accepted').get() as { records: Uint8Array }
  database.prepare('UPDATE accepted SET last = 9, digest = ?').run(rowDigest(1, 9, 1, row.records))
  database.close()
}

suite('doctor', () => {
  let whole: Awaited<ReturnType<typeof temporaryFolder>>
  before(async () => {
    whole = await temporaryFolder()
    await live(path.join(whole.path, 'data'))
  })
  after(() => whole[Symbol.asyncDispose]())

  const ok: Finding = { kind: 'ok', object: 'server.db', what: '2 clients, 4 messages waiting' }

  /** What the doctor says about a copy of the healthy folder in which something was changed. */
  async function findings(change: (folder: string) => Promise<unknown>): Promise<Finding[]> {
    await using temporary = await temporaryFolder()
    const folder = path.join(temporary.path, 'data')
    await cp(path.join(whole.path, 'data'), folder, { recursive: true })
    await change(folder)
    const before = await everythingIn(folder)
    const found = await Array.fromAsync(examine(folder))
    assert.deepEqual(await everythingIn(folder), before, 'the doctor changes nothing')
    return found.map((finding) => ({ ...finding, object: path.relative(folder, path.resolve(folder, finding.object)) }))
  }

  test('finds nothing wrong with a healthy folder', async () => {
    assert.deepEqual(await findings(async () => {}), [ok])
  })

  test('works beside a running server', async () => {
    await using temporary = await temporaryFolder()
    const folder = path.join(temporary.path, 'data')
    await using storage = await openSqliteIn(folder)
    const alice = await registered(storage, 'alice')
    await give(storage, alice, alice, 70_000)
    assert.deepEqual(await Array.fromAsync(examine(folder)), [
      { kind: 'ok', object: 'lock', what: `in use by process ${process.pid}` },
      { kind: 'ok', object: 'server.db', what: '1 clients, 1 messages waiting' },
    ])
  })

  type Case = { what: string; object: RegExp; says: RegExp; change(folder: string): Promise<unknown> }
  // biome-ignore format: the columns are the point
  const damages: Case[] = [
    { what: 'another byte in a content',   object: /^content\/\d+$/,   says: /do not match their digest/,       change: async (at) => changeByte(await contentOf(at), 500) },
    { what: 'a content that is cut short', object: /^content\/\d+$/,   says: /500 bytes instead of 70000/,      change: async (at) => writeFile(await contentOf(at), Buffer.alloc(500)) },
    { what: 'a content that is gone',      object: /^content\/\d+$/,   says: /missing/,                         change: async (at) => rm(await contentOf(at)) },
    { what: 'another message in a row',    object: /^message \d+$/,    says: /not what was stored/,             change: async (at) => sql(at, 'UPDATE messages SET sealed = zeroblob(length(sealed)) WHERE position = (SELECT max(position) FROM messages)') },
    { what: 'a message that is gone',      object: /^message \d+$/,    says: /missing/,                         change: async (at) => sql(at, 'DELETE FROM messages WHERE position = 4') },
    { what: 'a client with another name',  object: /^server\.db$/,     says: /client 2/,                        change: async (at) => sql(at, "UPDATE clients SET name = 'eve' WHERE number = 2") },
    { what: 'another journal',             object: /^server\.db$/,     says: /journal/,                         change: async (at) => sql(at, "UPDATE journal SET changes = x'00'") },
    { what: 'an object with another value', object: /^server\.db$/,    says: /account 616c696365/,             change: async (at) => sql(at, "UPDATE objects SET value = 'eve' WHERE kind = 2") },
    { what: 'an object under another key', object: /^server\.db$/,     says: /account 657665/,                 change: async (at) => sql(at, "UPDATE objects SET key = CAST('eve' AS BLOB) WHERE kind = 2") },
    { what: 'an object of no kind',        object: /^server\.db$/,     says: /unknown kind 77/,                change: async (at) => sql(at, 'UPDATE objects SET kind = 77 WHERE kind = 2') },
    { what: 'other deeds in the journal',  object: /^server\.db$/,     says: /deeds in journal row/,           change: async (at) => sql(at, "UPDATE journal SET deeds = x'00' WHERE deeds IS NOT NULL") },
    { what: 'a send of somebody else',     object: /^server\.db$/,     says: /accepted sends 2\/1/,            change: async (at) => { fold(at); sql(at, 'UPDATE accepted SET device = 2') } },
    { what: 'sends under other numbers',   object: /^server\.db$/,     says: /not in their order/,             change: async (at) => { fold(at); renumber(at) } },
    { what: 'another acknowledgement',     object: /^server\.db$/,     says: /device 2 acknowledged/,          change: async (at) => { fold(at); sql(at, 'UPDATE acknowledged SET through = 4') } },
    { what: 'the header of the database',  object: /^server\.db$/,     says: /not a database|malformed/,        change: (at) => changeByte(`${at}/server.db`, 0) },
    { what: 'a database of somebody else', object: /^server\.db$/,     says: /not a database of MessageU/,      change: async (at) => sql(at, 'PRAGMA application_id = 1') },
    { what: 'a restore that was cut short', object: /^server\.db$/,    says: /did not come to its end/,         change: (at) => rename(`${at}/server.db`, `${at}/server.db.restoring`) },
    { what: 'a database that is gone',     object: /^server\.db$/,     says: /there is none/,                   change: (at) => rm(`${at}/server.db`) },
  ]
  for (const { what, object, says, change } of damages)
    test(`finds ${what}`, async () => {
      const found = await findings(change)
      const damage = found.find(({ kind }) => kind === 'damage')
      assert(damage !== undefined, JSON.stringify(found))
      assert.match(damage.object, object)
      assert.match(damage.what, says)
    })

  // biome-ignore format: the columns are the point
  const warnings: Case[] = [
    { what: 'a folder that others can open',     object: /^$/,              says: /others may look into it/,  change: (at) => chmod(at, 0o755) },
    { what: 'a database that others can read',   object: /^server\.db$/,    says: /others may look into it/,  change: (at) => chmod(`${at}/server.db`, 0o644) },
    { what: 'contents behind a link',            object: /^content$/,       says: /is a link/,                change: async (at) => { await rename(`${at}/content`, `${at}/other`); await symlink('other', `${at}/content`) } },
    { what: 'a content of no message',           object: /^content\/4711$/, says: /the next start removes/,   change: (at) => writeFile(`${at}/content/4711`, 'nobody') },
    { what: 'what a killed backup left',         object: /^backup-staging$/, says: /the next one removes/,    change: (at) => mkdir(`${at}/backup-staging/files`, { recursive: true }) },
  ]
  for (const { what, object, says, change } of warnings)
    test(`warns about ${what}`, async () => {
      const found = await findings(change)
      const warning = found.find(({ kind }) => kind === 'warning')
      assert(warning !== undefined, JSON.stringify(found))
      assert.match(warning.object, object)
      assert.match(warning.what, says)
      assert.deepEqual(found.at(-1), ok)
    })

  test('U01 says of an older database that a start has to come first, and leaves it as it is', async () => {
    await using temporary = await temporaryFolder()
    const file = path.join(temporary.path, 'server.db')
    await writeFile(file, '', { mode: 0o600 })
    migrate(file, 1)
    const before = await readFile(file)
    const found = await Array.fromAsync(examine(temporary.path))
    assert.deepEqual(
      found.map(({ kind }) => kind),
      ['warning'],
    )
    assert.match(found[0]?.what ?? '', /an older program wrote it/)
    assert((await readFile(file)).equals(before))
    sql(temporary.path, 'DROP TABLE cold')
    assert.equal((await Array.fromAsync(examine(temporary.path)))[0]?.kind, 'damage')
  })

  test('takes a database whose first start was cut short for what it is', async () => {
    await using temporary = await temporaryFolder()
    await writeFile(path.join(temporary.path, 'server.db'), '', { mode: 0o600 })
    const unborn = { kind: 'ok', object: 'server.db', what: 'empty: its first start did not come to an end' }
    assert.deepEqual(await Array.fromAsync(examine(temporary.path)), [unborn])
    await writeFile(path.join(temporary.path, 'server.db-journal'), 'half')
    assert.deepEqual(await Array.fromAsync(examine(temporary.path)), [unborn])
  })
})

async function everythingIn(folder: string): Promise<Record<string, string>> {
  const all: Record<string, string> = {}
  // an empty log and its index are what any reader leaves
  for (const name of (await readdir(folder, { recursive: true })).sort())
    if (!/^server\.db-(wal|shm)$/.test(name) && !/(^|\/)lock$/.test(name))
      all[name] = await readFile(path.join(folder, name), 'base64').catch(() => 'folder')
  return all
}

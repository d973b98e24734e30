import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, suite, test } from 'node:test'
import { DamagedStorage } from '../../src/storage/damage.ts'
import { Folding } from '../../src/storage/folding.ts'
import { type LoadedState, loadState } from '../../src/storage/load.ts'
import { messageReader } from '../../src/storage/messagereader.ts'
import { openForReading, openForWriting } from '../../src/storage/schema.ts'
import type { Client } from '../../src/storage.ts'
import { bytesOf, openSqliteIn, registered, temporaryFolder } from '../world.ts'
import { copyOf, everything, heard, randomFrom, type Sent, seed, send, sendFile, taken } from './world.ts'

/** A closed storage with something of everything in it. */
interface Stored extends AsyncDisposable {
  readonly folder: string
  readonly file: string
  readonly sent: Record<'alice' | 'bob' | 'carol', Sent[]>
  readonly clients: Record<'alice' | 'bob' | 'carol', Client>
}

/** A copy of it, each time the same. */
async function startStored(): Promise<Stored> {
  template ??= makeTemplate()
  const { folder, ...rest } = await template
  const copy = copyOf(folder, String(++copies))
  const remove = async (): Promise<void> => rmSync(copy, { recursive: true })
  return { ...rest, folder: copy, file: path.join(copy, 'server.db'), [Symbol.asyncDispose]: remove }
}

let template: Promise<Stored> | undefined
let copies = 0
after(async () => (await template)?.[Symbol.asyncDispose]())

async function makeTemplate(): Promise<Stored> {
  const temporary = await temporaryFolder()
  const folder = temporary.path
  const file = path.join(folder, 'server.db')
  const storage = await openSqliteIn(folder)
  const alice = await registered(storage, 'alice')
  const bob = await registered(storage, 'bob')
  const carol = await registered(storage, 'carol')
  const sent = { alice: [] as Sent[], bob: [] as Sent[], carol: [] as Sent[] }
  const fill = async (): Promise<void> => {
    for (let i = 0; i < 12; i++) sent.alice.push(await send(storage, bob, alice, randomBytes(i < 6 ? 100 : i * 40)))
    sent.bob.push(await send(storage, alice, bob, randomBytes(9000)))
    for (const bytes of [70_000, 70_000]) sent.bob.push(await sendFile(storage, alice, bob, randomBytes(bytes)))
    sent.bob.push(await send(storage, alice, bob, 'the last one'))
    for (let i = 0; i < 3; i++) sent.carol.push(await send(storage, alice, carol, `for carol ${i}`))
  }
  await send(storage, alice, carol, 'taken')
  await taken(storage, carol)
  await fill()
  await storage[Symbol.asyncDispose]()
  fold(file)
  const again = await openSqliteIn(folder)
  await again[Symbol.asyncDispose]()
  return {
    folder,
    file,
    sent,
    clients: { alice, bob, carol },
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  }
}

/** Folds all but the last rows of the journal away, so that there is something in every table. */
function fold(file: string): void {
  const database = openForWriting(file)
  const all = database.prepare('SELECT count(*) AS rows FROM journal').get() as { rows: number }
  const last = database.prepare('SELECT * FROM journal ORDER BY number DESC LIMIT 3').all() as Record<
    'number' | 'digest',
    number
  >[]
  database.exec(
    'BEGIN; DELETE FROM journal WHERE number IN (SELECT number FROM journal ORDER BY number DESC LIMIT 3); COMMIT',
  )
  new Folding(database, all.rows).step(0, 0)
  const insert = database.prepare('INSERT INTO journal(number, digest, changes) VALUES(?, ?, ?)')
  for (const { number, digest, changes } of last as unknown as {
    number: number
    digest: number
    changes: Uint8Array
  }[])
    insert.run(number, digest, changes)
  for (const table of ['meta', 'clients', 'messages', 'contents', 'journal', 'cold', 'cursors'])
    assert((database.prepare(`SELECT count(*) AS rows FROM ${table}`).get() as { rows: number }).rows > 0, table)
  database.close()
}

/** Changes one stored value behind SQLite's back, as a disk would: the page stays well-formed. */
function alter(file: string, statement: string): void {
  const database = new DatabaseSync(file)
  database.exec(statement)
  assert((database.prepare('SELECT changes() AS rows').get() as { rows: number }).rows > 0)
  database.close()
}

function flip(file: string, at: number, bit = 0): void {
  const bytes = readFileSync(file)
  bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << bit), at)
  writeFileSync(file, bytes)
}

const inDatabase = (error: unknown): boolean => error instanceof DamagedStorage && error.object === 'server.db'

/** Everything that a loaded state says, comparable. */
function told({ directory, mailboxes, contents, position }: LoadedState, clients: Stored['clients']) {
  const waiting: number[][] = []
  for (const mailbox of mailboxes.occupied())
    mailboxes.walk(mailbox, (...message) => waiting.push([mailbox, ...message]) > 0)
  const known = Object.values(clients).map(({ login }) => directory.byLogin(login))
  return { known, count: directory.count, waiting: waiting.sort(), contents: [...contents].sort(), position }
}

function listed(folder: string): string[] {
  return readdirSync(path.join(folder, 'content')).sort()
}

const flips = Number(process.env.FLIPS ?? 500)

suite('K06 damage', () => {
  test('whatever bit of the database flips: it is noticed, or it does not matter', async () => {
    await using stored = await startStored()
    const { folder, file, clients } = stored
    const whole = readFileSync(file)
    const before = told(loadState(folder), clients)
    const positions = Float64Array.from(before.waiting.map(([, position]) => position as number).sort((a, b) => a - b))
    const forms = read(file, positions)
    const random = randomFrom(seed)
    let noticed = 0
    for (let i = 0; i < flips; i++) {
      const at = random.below(whole.length)
      const bit = random.below(8)
      const bytes = Buffer.from(whole)
      bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << bit), at)
      writeFileSync(file, bytes)
      const where = `bit ${bit} of byte ${at}, seed ${seed}`
      try {
        assert.deepEqual(told(loadState(folder), clients), before, where)
        const now = read(file, positions)
        for (const [i, form] of now.entries())
          if (form === 'damaged') noticed += 1
          else assert.deepEqual(form, forms[i], where)
      } catch (error) {
        const refused = error instanceof DamagedStorage || (error as Error).message.includes('by a newer program')
        if (!refused) throw new Error(where, { cause: error })
        noticed += 1
      }
    }
    assert(noticed > flips / 20)
    assert.deepEqual(listed(folder), ['1', '2', 'incoming'], 'nothing is deleted')
  })

  for (const [what, statement] of [
    ['a client', "UPDATE clients SET name = x'6d616c6c6f7279' WHERE number = 2"],
    ['the login of a client', 'UPDATE clients SET login = id, id = zeroblob(16) WHERE number = 2'],
    ['a journal row', "UPDATE journal SET changes = changes || x'00'"],
    [
      'the order of journal rows',
      'UPDATE journal SET number = number + 1000 WHERE number = (SELECT min(number) FROM journal)',
    ],
    ['a cold row', "UPDATE cold SET positions = x'0119'"],
    ['whose cold row it is', 'UPDATE cold SET recipient = 3 WHERE recipient = 2'],
    ['a cursor', 'UPDATE cursors SET through = through + 1'],
    ['what a cursor keeps', "UPDATE cursors SET keeping = x'01'"],
    ['the position', 'UPDATE meta SET value = value - 1'],
    ['a content row', 'UPDATE contents SET bytes = bytes + 1 WHERE id = 1'],
    ['the id of a content', 'UPDATE contents SET id = 77 WHERE id = 1'],
    ['the kind of a value', "UPDATE contents SET bytes = 'many' WHERE id = 1"],
    ['a number that is none of ours', 'UPDATE contents SET bytes = 9223372036854775807 WHERE id = 1'],
    ['a table that is gone', 'DROP TABLE cold'],
  ] as const)
    test(`the start is refused after damage to ${what}, and nothing is deleted`, async () => {
      await using stored = await startStored()
      alterUnchecked(stored.file, statement)
      const before = readFileSync(stored.file)
      await assert.rejects(openSqliteIn(stored.folder), inDatabase)
      assert(readFileSync(stored.file).equals(before))
      assert.deepEqual(listed(stored.folder), ['1', '2', 'incoming'])
    })

  for (const table of ['meta', 'clients', 'contents', 'journal', 'cold', 'cursors'])
    test(`the start is refused when a page of ${table} has lost a row`, async () => {
      await using stored = await startStored()
      const database = new DatabaseSync(stored.file)
      const query = database.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?')
      const { rootpage } = query.get(table) as { rootpage: number }
      database.close()
      const bytes = readFileSync(stored.file)
      const countAt = (rootpage - 1) * 4096 + 3 // sqlite.org/fileformat2.html#b_tree_pages
      bytes.writeUInt16BE(bytes.readUInt16BE(countAt) - 1, countAt)
      writeFileSync(stored.file, bytes)
      await assert.rejects(openSqliteIn(stored.folder), inDatabase)
      assert.deepEqual(listed(stored.folder), ['1', '2', 'incoming'])
    })

  test('the start is refused after damage to the header of the database', async () => {
    await using stored = await startStored()
    for (const at of [0, 16, 47, 68, 100]) {
      const before = readFileSync(stored.file)
      flip(stored.file, at, 1)
      await assert.rejects(openSqliteIn(stored.folder), inDatabase, `byte ${at}`)
      writeFileSync(stored.file, before)
    }
  })

  test('the start is refused after damage to the declaration of a table', async () => {
    await using stored = await startStored()
    flip(stored.file, readFileSync(stored.file).indexOf('sealed BLOB'))
    await assert.rejects(openSqliteIn(stored.folder), inDatabase)
  })

  test('the start is refused when the database is gone, or empty, and its contents are not', async () => {
    await using stored = await startStored()
    truncateSync(stored.file, 0)
    await assert.rejects(openSqliteIn(stored.folder), inDatabase)
    rmSync(stored.file)
    await assert.rejects(openSqliteIn(stored.folder), inDatabase)
    assert.equal(existsSync(stored.file), false)
    assert.deepEqual(listed(stored.folder), ['1', '2', 'incoming'])
  })

  test('the start is refused when the database has lost its end', async () => {
    await using stored = await startStored()
    truncateSync(stored.file, readFileSync(stored.file).length - 3 * 4096)
    await assert.rejects(openSqliteIn(stored.folder), inDatabase)
  })

  test('the start is refused after damage to the write-ahead log, and the log stays', async () => {
    await using temporary = await temporaryFolder()
    const storage = await openSqliteIn(temporary.path)
    const alice = await registered(storage, 'alice')
    for (let i = 0; i < 10; i++) await send(storage, alice, alice, `message ${i}`)
    const copy = copyOf(temporary.path, 'crashed')
    await storage[Symbol.asyncDispose]()
    const log = path.join(copy, 'server.db-wal')
    const whole = readFileSync(log)
    for (const at of [3, 20, 32 + 17, 32 + 24 + 900]) {
      flip(log, at)
      const before = readFileSync(log)
      await assert.rejects(
        openSqliteIn(copy),
        (error) => error instanceof DamagedStorage && error.object === 'server.db-wal',
      )
      assert(readFileSync(log).equals(before))
      writeFileSync(log, whole)
    }
    await using again = await openSqliteIn(copy)
    assert.equal(again.figures().waitingMessages, 10)
    rmSync(copy, { recursive: true })
  })

  for (const [what, statement] of [
    ['its bytes', 'UPDATE messages SET sealed = zeroblob(length(sealed)) WHERE position = :position'],
    ['its absence', 'DELETE FROM messages WHERE position = :position'],
    [
      'another message in its place',
      'UPDATE messages SET (sealed, digest) = (SELECT sealed, digest FROM messages WHERE position = :position - 1) WHERE position = :position',
    ],
    ['a content that it never had', 'UPDATE messages SET content = 1 WHERE position = :position'],
    ['a value of another kind', "UPDATE messages SET sealed = 'text' WHERE position = :position"],
  ] as const)
    test(`a message that is damaged by ${what} stops one fetch and is left out of the next`, async () => {
      await using stored = await startStored()
      const victim = stored.sent.alice[5] as Sent
      alter(stored.file, statement.replaceAll(':position', String(victim.position)))
      await using storage = await openSqliteIn(stored.folder)
      const { alice } = stored.clients
      const fetched = storage.waiting(alice, everything)
      await assert.rejects(
        bytesOf(storage, fetched),
        (error: Error) => inDatabase(error) && error.message.includes(String(victim.position)),
      )
      assert.equal(storage.figures().damagedMessages, 1)
      const others = Buffer.concat(stored.sent.alice.filter((sent) => sent !== victim).map(({ bytes }) => bytes))
      assert(others.equals(await heard(storage, alice)))
      const next = storage.waiting(alice, everything)
      assert.deepEqual(next.damaged, [victim.position])
      await storage.discard(next)
      const late = await send(storage, alice, alice, 'later')
      assert.deepEqual(await taken(storage, alice), late.bytes)
      assert.deepEqual(storage.waiting(alice, everything).damaged, [victim.position], 'it is still there')
    })

  for (const [what, damage] of [
    ['flipped', (file: string) => flip(file, 40_000)],
    ['shortened', (file: string) => truncateSync(file, 69_999)],
    ['lengthened', (file: string) => truncateSync(file, 70_001)],
    ['missing', (file: string) => rmSync(file)],
    [
      'a link',
      (file: string) => {
        copyFileSync(file, `${file}.real`)
        rmSync(file)
        symlinkSync(`${file}.real`, file)
      },
    ],
  ] as const)
    test(`a content that is ${what} stops one fetch and is left out of the next`, async () => {
      await using stored = await startStored()
      damage(path.join(stored.folder, 'content', '1'))
      await using storage = await openSqliteIn(stored.folder)
      const { bob } = stored.clients
      const [first, victim, ...rest] = stored.sent.bob as [Sent, Sent, ...Sent[]]
      const got: Buffer[] = []
      await assert.rejects(
        async () => {
          for await (const piece of storage.read(storage.waiting(bob, everything))) {
            got.push(Buffer.from(piece.bytes))
            piece.release()
          }
        },
        (error) => error instanceof DamagedStorage && error.object === 'content/1',
      )
      assert(Buffer.concat(got).length < first.bytes.length + victim.bytes.length, 'never a whole message')
      assert((await heard(storage, bob)).equals(Buffer.concat([first, ...rest].map(({ bytes }) => bytes))))
      await storage.discard(storage.waiting(bob, everything))
      assert.deepEqual(storage.waiting(bob, everything).damaged, [victim.position])
    })

  test('contents of the same size that changed places are noticed', async () => {
    await using stored = await startStored()
    alter(stored.file, 'UPDATE messages SET content = 3 - content WHERE content IN (1, 2)')
    await using storage = await openSqliteIn(stored.folder)
    await assert.rejects(heard(storage, stored.clients.bob), inDatabase)
    assert.equal(storage.figures().damagedMessages, 2)
  })

  test('I9 a mailbox with too many damaged messages is refused as a whole, and the others are not', async () => {
    await using temporary = await temporaryFolder()
    const first = await openSqliteIn(temporary.path)
    const alice = await registered(first, 'alice')
    const bob = await registered(first, 'bob')
    await Promise.all(Array.from({ length: 1500 }, () => send(first, alice, alice, 'x')))
    const { bytes } = await send(first, alice, bob, 'hello')
    await first[Symbol.asyncDispose]()
    alter(path.join(temporary.path, 'server.db'), 'UPDATE messages SET digest = 0 WHERE position <= 1500')
    await using storage = await openSqliteIn(temporary.path)
    for (let tries = 0; tries < 4; tries++) await assert.rejects(heard(storage, alice), inDatabase)
    assert.throws(() => storage.waiting(alice, everything), inDatabase)
    assert(storage.figures().damagedMessages <= 1256)
    assert.deepEqual(await heard(storage, bob), bytes)
  })

  test('damage that is found while the server runs ends it, and says what it is', async () => {
    await using stored = await startStored()
    const storage = await openSqliteIn(stored.folder)
    const other = new DatabaseSync(stored.file, { timeout: 5000 })
    other.exec('DELETE FROM messages; DROP TABLE journal')
    const { alice } = stored.clients
    await assert.rejects(send(storage, alice, alice, 'hello'), inDatabase)
    await assert.rejects(storage.failed, inDatabase)
    await assert.rejects(send(storage, alice, alice, 'hello'), inDatabase)
    other.close()
    await storage[Symbol.asyncDispose]()
  })
})

function alterUnchecked(file: string, statement: string): void {
  const database = new DatabaseSync(file)
  database.exec(statement)
  database.close()
}

/** The stored form of each position, or that it is damaged. */
function read(file: string, positions: Float64Array): (string | 'damaged')[] {
  const database = openForReading(file)
  try {
    const { sealed, lengths, contents, damaged } = messageReader(database)(positions)
    let at = 0
    return [...positions].map((position, i) => {
      const from = at
      at += lengths[i] as number
      return damaged.includes(position)
        ? 'damaged'
        : Buffer.from(sealed.subarray(from, at)).toString('hex') + JSON.stringify(contents.get(i))
    })
  } finally {
    database.close()
  }
}

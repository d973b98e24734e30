import assert from 'node:assert/strict'
import { appendFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { suite, test } from 'node:test'
import { BackupError, backup, restore } from '../../src/admin/backup.ts'
import { examine } from '../../src/admin/doctor.ts'
import { migrate } from '../../src/storage/schema.ts'
import { numberKey } from '../../src/v3/numbers.ts'
import { bytesOf, openSqliteIn, registered, temporaryFolder } from '../world.ts'
import { changeByte, contentOf, give, live } from './lived.ts'

const now = new Date('2026-01-02T03:04:05Z')

async function scene(): Promise<AsyncDisposable & { folder: string; target: string; of(name: string): string }> {
  const temporary = await temporaryFolder()
  const of = (name: string): string => path.join(temporary.path, name)
  await live(of('data'))
  return {
    folder: of('data'),
    target: of('backup'),
    of,
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  }
}

const healthy = async (folder: string): Promise<void> => {
  for await (const { kind, object, what } of examine(folder)) assert.equal(kind, 'ok', `${object}: ${what}`)
}

suite('backup', () => {
  test('holds the database and the contents that wait, with a digest of each, and leaves nothing behind', async () => {
    await using world = await scene()
    const { createdAt, files } = await backup(world.folder, world.target, now)
    assert.equal(createdAt, '2026-01-02T03:04:05.000Z')
    const content = path.relative(world.folder, await contentOf(world.folder))
    assert.deepEqual(
      files.map(({ name }) => name),
      ['server.db', content],
    )
    assert.deepEqual((await readdir(world.target)).sort(), ['content', 'manifest.json', 'server.db'])
    assert(!(await readdir(path.join(world.folder, 'backup-staging'))).includes('files'))
  })

  test('of a running server: what comes later is not in it', async () => {
    await using world = await scene()
    {
      await using storage = await openSqliteIn(world.folder)
      await backup(world.folder, world.target, now)
      await registered(storage, 'carol')
    }
    await restore(world.target, world.of('restored'), now)
    await healthy(world.of('restored'))
    await using storage = await openSqliteIn(world.of('restored'))
    assert.deepEqual(storage.figures(), { clients: 2, waitingMessages: 4, damagedMessages: 0 })
  })

  test('refuses a folder with something in it', async () => {
    await using world = await scene()
    await mkdir(world.target)
    await writeFile(path.join(world.target, 'mine'), 'mine')
    await assert.rejects(backup(world.folder, world.target, now), BackupError)
    assert.deepEqual(await readdir(world.target), ['mine'])
  })

  test('removes what an interrupted one has left', async () => {
    await using world = await scene()
    const left = path.join(world.folder, 'backup-staging', 'files')
    await mkdir(left, { recursive: true })
    await cp(await contentOf(world.folder), path.join(left, '4711'))
    await backup(world.folder, world.target, now)
    assert(!(await readdir(path.join(world.folder, 'backup-staging'))).includes('files'))
    assert(!(await readdir(path.join(world.target, 'content'))).includes('4711'))
  })
})

suite('restore', () => {
  test('brings back every byte, and gives no position again', async () => {
    await using world = await scene()
    await backup(world.folder, world.target, now)
    await restore(world.target, world.of('restored'), now)
    const { bytes, highest } = await mailboxOf(world.folder)
    const restored = await mailboxOf(world.of('restored'))
    assert(restored.bytes.subarray(0, bytes.length).equals(bytes))
    assert(restored.highest > highest + 100_000, `${restored.highest} comes after ${highest}`)
  })

  test('U05 makes another server of it: it forgets its incarnation and packages for one use, and has everything else', async () => {
    await using world = await scene()
    await backup(world.folder, world.target, now)
    await restore(world.target, world.of('restored'), now)
    const [before, after] = [world.folder, world.of('restored')]
    const incarnation = Buffer.from('incarnation')
    {
      await using storage = await openSqliteIn(before)
      assert.notEqual(await storage.archive.get('server', incarnation), undefined)
    }
    await using storage = await openSqliteIn(after)
    assert.equal(await storage.archive.get('server', incarnation), undefined)
    assert.equal(await storage.archive.get('keyPackage', numberKey(1, 1)), undefined)
    assert.notEqual(await storage.archive.get('keyPackage', numberKey(1, 0)), undefined)
    assert.notEqual(await storage.archive.get('account', Buffer.from('alice')), undefined)
    assert.equal((await storage.archive.sends(1)).highest, 1)
    assert.equal(await storage.archive.acknowledged(2), 3)
  })

  test('U01 takes the backup of an older program, and brings it to this version', async () => {
    await using world = await scene()
    const older = world.of('older')
    await mkdir(older)
    const file = path.join(older, 'server.db')
    await writeFile(file, '')
    migrate(file, 1)
    await backup(older, world.target, now)
    await restore(world.target, world.of('restored'), now)
    await using storage = await openSqliteIn(world.of('restored'))
    assert(storage.archive.position > 100_000)
  })

  type Case = { what: string; spoil(at: string, content: string): Promise<unknown> }
  // biome-ignore format: the columns are the point
  const spoilings: Case[] = [
    { what: 'no manifest',                  spoil: (at) => rm(`${at}/manifest.json`) },
    { what: 'half a manifest',              spoil: (at) => writeFile(`${at}/manifest.json`, '{"v":1,') },
    { what: 'a manifest of something else', spoil: (at) => writeFile(`${at}/manifest.json`, '{"v":1}') },
    { what: 'a manifest of nothing',        spoil: (at) => writeFile(`${at}/manifest.json`, '{"v":1,"files":[]}') },
    { what: 'a manifest with null in it',   spoil: (at) => writeFile(`${at}/manifest.json`, '{"v":1,"files":[null]}') },
    { what: 'a manifest without a content', spoil: (at) => withoutContents(`${at}/manifest.json`) },
    { what: 'a way out of the folder',      spoil: (at, content) => alter(`${at}/manifest.json`, content, 'content/../../data/server.db') },
    { what: 'no database',                  spoil: (at) => rm(`${at}/server.db`) },
    { what: 'no content',                   spoil: (at, content) => rm(`${at}/${content}`) },
    { what: 'a longer content',             spoil: (at, content) => appendFile(`${at}/${content}`, '?') },
    { what: 'another content',              spoil: (at, content) => changeByte(`${at}/${content}`, 1000) },
    { what: 'another database',             spoil: (at) => changeByte(`${at}/server.db`, 9000) },
  ]
  for (const { what, spoil } of spoilings)
    test(`refuses a backup with ${what}, and creates nothing`, async () => {
      await using world = await scene()
      await backup(world.folder, world.target, now)
      await spoil(world.target, path.relative(world.folder, await contentOf(world.folder)))
      await assert.rejects(restore(world.target, world.of('restored'), now), BackupError)
      await assert.rejects(readdir(world.of('restored')), { code: 'ENOENT' })
    })

  test('refuses a folder with something in it', async () => {
    await using world = await scene()
    await backup(world.folder, world.target, now)
    const before = await readFile(path.join(world.folder, 'server.db'))
    await assert.rejects(restore(world.target, world.folder, now), BackupError)
    assert((await readFile(path.join(world.folder, 'server.db'))).equals(before))
  })
})

/** What waits for bob, and the position of one message more. */
async function mailboxOf(folder: string): Promise<{ bytes: Buffer; highest: number }> {
  await using storage = await openSqliteIn(folder)
  const carol = await registered(storage, 'carol')
  const database = storage.listing(carol)
  const bob = storage.clientById(Buffer.concat(database).subarray(271, 287) as Uint8Array as typeof carol.id)
  if (bob === undefined) throw new Error('bob is listed second')
  await give(storage, carol, bob, 10)
  const fetched = storage.waiting(bob, 2 ** 32)
  const all = await bytesOf(storage, fetched)
  return { bytes: all.subarray(0, all.length - 35), highest: fetched.positions.at(-1) ?? 0 }
}

async function withoutContents(manifest: string): Promise<void> {
  const whole = JSON.parse(await readFile(manifest, 'utf8')) as { files: { name: string }[] }
  await writeFile(manifest, JSON.stringify({ ...whole, files: whole.files.filter(({ name }) => name === 'server.db') }))
}

async function alter(file: string, from: string, to: string): Promise<void> {
  await writeFile(file, (await readFile(file, 'utf8')).replace(from, to))
}

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { suite, test } from 'node:test'
import { FolderInUse, FolderLock, ownerOf } from '../../src/lock.ts'
import { prepareFolder } from '../../src/storage/folder.ts'
import { bytesOf, openSqliteIn, registered, temporaryFolder } from '../world.ts'
import { copyOf, everything, pour, send, sendFile, taken } from './world.ts'

const modeOf = (object: string): number => statSync(object).mode & 0o777

/** A process that opens the folder and stays until it is killed. */
async function startOther(folder: string) {
  const script = `
    import { openSqlite } from ${JSON.stringify(new URL('../../src/storage/sqlite.ts', import.meta.url).href)}
    await openSqlite({ folder: ${JSON.stringify(folder)}, nowMs: Date.now, diskReserveShare: 0 }).then(
      () => console.log('open'),
      (error) => { console.log(JSON.stringify({ name: error.name, message: error.message, owner: error.owner })); process.exit(1) },
    )`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [answer] = (await once(child.stdout, 'data')) as [Buffer]
  return {
    answer: answer.toString().trim(),
    pid: child.pid as number,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

suite('K08 one process per folder', () => {
  test('a second process is told at once who uses the folder', async () => {
    await using folder = await temporaryFolder()
    await using _storage = await openSqliteIn(folder.path)
    const other = await startOther(folder.path)
    const { name, owner, message } = JSON.parse(other.answer)
    assert.equal(name, 'FolderInUse')
    assert.equal(owner.pid, process.pid)
    assert(message.includes(`process ${process.pid} on `))
  })

  test('a process that was killed leaves no lock behind', async () => {
    await using folder = await temporaryFolder()
    const other = await startOther(folder.path)
    assert.equal(other.answer, 'open')
    await assert.rejects(
      openSqliteIn(folder.path),
      (error) => error instanceof FolderInUse && error.owner?.pid === other.pid,
    )
    await other.kill()
    await using _storage = await openSqliteIn(folder.path)
    assert.equal(ownerOf(folder.path)?.pid, process.pid)
  })

  test('a second try in the same process takes the lock off nobody', async () => {
    await using folder = await temporaryFolder()
    await using storage = await openSqliteIn(folder.path)
    await assert.rejects(openSqliteIn(folder.path), FolderInUse)
    const other = await startOther(folder.path)
    await other.kill()
    assert.equal(JSON.parse(other.answer).name, 'FolderInUse')
    await send(storage, await registered(storage, 'me'), await registered(storage, 'you'), 'still mine')
  })

  test('the folder is free when the storage is closed, and when it could not be opened', async () => {
    await using folder = await temporaryFolder()
    await (await openSqliteIn(folder.path))[Symbol.asyncDispose]()
    writeFileSync(path.join(folder.path, 'server.db'), 'no database')
    await assert.rejects(openSqliteIn(folder.path), { name: 'DamagedStorage' })
    const lock = await FolderLock.take(folder.path, new Date())
    lock[Symbol.dispose]()
    lock[Symbol.dispose]()
  })

  test('K06 a lock that is not ours is named', async () => {
    await using folder = await temporaryFolder()
    writeFileSync(path.join(folder.path, 'lock'), randomBytes(5000))
    await assert.rejects(openSqliteIn(folder.path), { name: 'DamagedStorage', object: 'lock' })
  })

  test('an owner that cannot be read is nobody', async () => {
    await using folder = await temporaryFolder()
    for (const content of ['', 'null', '{"pid":"7"}', '{"pid":7,"host":"h"']) {
      writeFileSync(path.join(folder.path, 'owner'), content)
      assert.equal(ownerOf(folder.path), undefined)
    }
  })
})

suite('K12 nobody else looks into the folder', () => {
  test('everything is created for us alone, whatever the umask', async () => {
    await using folder = await temporaryFolder()
    const before = process.umask(0)
    try {
      const data = path.join(folder.path, 'deep', 'data')
      await using storage = await openSqliteIn(data)
      const alice = await registered(storage, 'alice')
      await sendFile(storage, alice, alice, randomBytes(70_000))
      await using incoming = await storage.receive(70_000)
      await pour(incoming, randomBytes(70_000))
      const seen = readdirSync(data, { recursive: true, withFileTypes: true })
      for (const entry of seen)
        assert.equal(modeOf(path.join(entry.parentPath, entry.name)), entry.isDirectory() ? 0o700 : 0o600, entry.name)
      assert.equal(modeOf(data), 0o700)
      const names = seen.map(({ name }) => name).sort()
      const expected = ['1', '2', 'content', 'incoming', 'lock', 'owner', 'server.db', 'server.db-shm', 'server.db-wal']
      assert.deepEqual(names, expected)
    } finally {
      process.umask(before)
    }
  })

  test('a folder of ours that was opened to others is closed again', async () => {
    await using folder = await temporaryFolder()
    const storage = await openSqliteIn(folder.path)
    const alice = await registered(storage, 'alice')
    await sendFile(storage, alice, alice, randomBytes(70_000))
    await storage[Symbol.asyncDispose]()
    chmodSync(folder.path, 0o755)
    for (const name of ['server.db', 'lock', 'content']) chmodSync(path.join(folder.path, name), 0o777)
    await using again = await openSqliteIn(folder.path)
    await registered(again, 'bob')
    assert.equal(modeOf(folder.path), 0o700)
    for (const name of ['server.db', 'server.db-wal', 'lock']) assert.equal(modeOf(path.join(folder.path, name)), 0o600)
    assert.equal(modeOf(path.join(folder.path, 'content')), 0o700)
  })

  test('an empty folder that is open to others becomes ours', async () => {
    await using folder = await temporaryFolder()
    chmodSync(folder.path, 0o777)
    await using _storage = await openSqliteIn(folder.path)
    assert.equal(modeOf(folder.path), 0o700)
  })

  test('a folder that others use is refused and left as it is', async () => {
    await using folder = await temporaryFolder()
    writeFileSync(path.join(folder.path, 'theirs'), 'theirs')
    chmodSync(folder.path, 0o777)
    await assert.rejects(openSqliteIn(folder.path), /name a new folder/)
    assert.equal(modeOf(folder.path), 0o777)
    assert.deepEqual(readdirSync(folder.path), ['theirs'])
  })

  for (const name of ['server.db', 'server.db-wal', 'server.db-journal', 'lock', 'content', 'content/incoming'])
    test(`nothing is stored through a link in the place of ${name}`, async () => {
      await using folder = await temporaryFolder()
      await using elsewhere = await temporaryFolder()
      const target = path.join(elsewhere.path, 'target')
      if (name.startsWith('content')) mkdirSync(target)
      else writeFileSync(target, '')
      mkdirSync(path.dirname(path.join(folder.path, name)), { recursive: true })
      symlinkSync(target, path.join(folder.path, name))
      await assert.rejects(openSqliteIn(folder.path), /through a link/)
      assert.deepEqual(
        statSync(target).isDirectory() ? readdirSync(target) : readFileSync(target, 'utf8'),
        statSync(target).isDirectory() ? [] : '',
      )
    })

  test('nothing is stored through a link in the place of the folder', async () => {
    await using folder = await temporaryFolder()
    const [target, link] = [path.join(folder.path, 'target'), path.join(folder.path, 'link')]
    mkdirSync(target)
    symlinkSync(target, link)
    await assert.rejects(openSqliteIn(link), /through a link/)
    assert.deepEqual(readdirSync(target), [])
    symlinkSync(path.join(folder.path, 'nowhere'), path.join(folder.path, 'dangling'))
    await assert.rejects(openSqliteIn(path.join(folder.path, 'dangling')))
    assert.equal(existsSync(path.join(folder.path, 'nowhere')), false)
  })

  test('a folder that we have no right to is refused with the reason of the system', async (context) => {
    if (process.getuid?.() !== 0) return context.skip('needs root, to become somebody else')
    await using folder = await temporaryFolder()
    const module = new URL('../../src/storage/sqlite.ts', import.meta.url).href
    const script = `
      import { openSqlite } from ${JSON.stringify(module)}
      process.setuid(65534)
      await openSqlite({ folder: process.argv[1], nowMs: Date.now }).catch((error) => console.log(error.message))`
    const node = ['--input-type=module', '-e', script, path.join(folder.path, 'data')]
    const { stdout } = spawnSync(process.execPath, node, { encoding: 'utf8' })
    assert.match(stdout, /EACCES: permission denied.*data/)
  })
})

suite('what a crash leaves behind', () => {
  test('uploads that were not finished and contents that no message has are removed, and the others stay', async () => {
    await using folder = await temporaryFolder()
    const storage = await openSqliteIn(folder.path)
    const alice = await registered(storage, 'alice')
    await sendFile(storage, alice, alice, randomBytes(70_000))
    await taken(storage, alice)
    const { bytes } = await sendFile(storage, alice, alice, randomBytes(70_000))
    await using incoming = await storage.receive(100_000)
    await pour(incoming, randomBytes(100_000))
    await using finished = await storage.receive(100_000)
    await pour(finished, randomBytes(100_000))
    await finished.finish()
    const crashed = copyOf(folder.path, 'crashed')
    const content = path.join(crashed, 'content')
    writeFileSync(path.join(content, '1'), 'its message was removed, and then came the crash')
    writeFileSync(path.join(content, 'notes.txt'), 'not ours')
    assert.deepEqual(readdirSync(path.join(content, 'incoming')), ['3'])
    await storage[Symbol.asyncDispose]()

    const again = await openSqliteIn(crashed)
    assert.deepEqual(readdirSync(content).sort(), ['2', 'incoming', 'notes.txt'])
    assert.deepEqual(readdirSync(path.join(content, 'incoming')), [])
    assert((await bytesOf(again, again.waiting(alice, everything))).equals(bytes))
    await sendFile(again, alice, alice, randomBytes(70_000))
    assert.deepEqual(readdirSync(content).sort(), ['2', '5', 'incoming', 'notes.txt'], 'no number is used twice')
    await again[Symbol.asyncDispose]()
    rmSync(crashed, { recursive: true })
  })
})

test('K08 a file that another program makes and takes away at the same moment keeps nobody from the folder', async () => {
  await using temporary = await temporaryFolder()
  const file = path.join(temporary.path, 'server.db-journal')
  const over = new AbortController()
  const coming = (async () => {
    while (!over.signal.aborted) {
      await writeFile(file, '', { mode: 0o600 })
      await rm(file)
    }
  })()
  try {
    for (let i = 0; i < 300; i++) await prepareFolder(temporary.path)
  } finally {
    over.abort()
    await coming
  }
})

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Oracle } from './oracle.ts'
import { ServerProcess, temporaryFolder } from './serverProcess.ts'
import { faulty, needsStrace } from './strace.ts'

/** Contents are numbered from 1: enough for all the cases. */
const incoming = Array.from({ length: 200 }, (_, i) => `content/incoming/${i + 1}`)
const database = ['server.db', 'server.db-wal']
const writing = ['write', 'writev', 'pwrite64', 'pwritev']

/** What fails, and what a client must not get accepted meanwhile. */
// biome-ignore format: the columns are the point
const cases = [
  { error: 'ENOSPC', calls: writing,                    files: database, refuses: ['small', 'large'] },
  { error: 'EDQUOT', calls: writing,                    files: database, refuses: ['small', 'large'] },
  { error: 'EFBIG',  calls: writing,                    files: database, refuses: ['small', 'large'] },
  { error: 'EROFS',  calls: writing,                    files: database, refuses: ['small', 'large'] },
  { error: 'EACCES', calls: writing,                    files: database, refuses: ['small', 'large'] },
  { error: 'EIO',    calls: writing,                    files: database, refuses: ['small', 'large'] },
  { error: 'ENOMEM', calls: writing,                    files: database, refuses: ['small', 'large'] },
  { error: 'ENOSPC', calls: writing,                    files: incoming, refuses: ['large'] },
  { error: 'EDQUOT', calls: writing,                    files: incoming, refuses: ['large'] },
  { error: 'EFBIG',  calls: writing,                    files: incoming, refuses: ['large'] },
  { error: 'EIO',    calls: writing,                    files: incoming, refuses: ['large'] },
  { error: 'ENOSPC', calls: ['openat'],                 files: incoming, refuses: ['large'] },
  { error: 'EDQUOT', calls: ['openat'],                 files: incoming, refuses: ['large'] },
  { error: 'EROFS',  calls: ['openat'],                 files: incoming, refuses: ['large'] },
  { error: 'EACCES', calls: ['openat'],                 files: incoming, refuses: ['large'] },
  { error: 'EMFILE', calls: ['openat'],                 files: incoming, refuses: ['large'] },
  { error: 'ENOMEM', calls: ['openat'],                 files: incoming, refuses: ['large'] },
  { error: 'EIO',    calls: ['fsync', 'fdatasync'],     files: incoming, refuses: ['large'] },
  { error: 'ENOSPC', calls: ['fsync', 'fdatasync'],     files: incoming, refuses: ['large'] },
  { error: 'EACCES', calls: ['rename', 'renameat2'],    files: incoming, refuses: ['large'] },
] as const

suite('K05 a disk that takes no more', needsStrace, () => {
  for (const { error, calls, files, refuses } of cases)
    test(`${error} at ${calls[0]} of ${files[0]}`, async (t) => {
      const server = await shared
      const { oracle } = server
      const paths = files.map((file) => path.join(server.folder, file))
      await oracle.send('alice', 'bob', 100)
      await oracle.send('alice', 'bob', 70_000)
      {
        await using _ = await faulty(server.process.pid, { calls, paths }, error)
        const sends = {
          small: () => oracle.send('alice', 'bob', 100),
          large: () => oracle.send('alice', 'bob', 70_000),
        }
        for (const [kind, send] of Object.entries(sends)) {
          const expected = (refuses as readonly string[]).includes(kind) ? 'refused' : 'accepted'
          assert.equal(await send(), expected, `a ${kind} message`)
        }
        assert.notEqual(await oracle.fetch('bob'), undefined, 'fetches go on')
      }
      oracle.meet(server.process.address) // the removal may have failed
      assert.equal(await oracle.send('alice', 'bob', 100), 'accepted', 'recovers alone')
      assert.equal(await oracle.send('alice', 'bob', 70_000), 'accepted', 'recovers alone')
      await fetchAndForget(oracle)
      oracle.throwProblems()
      t.diagnostic(`${(await residentBytes(server.process.pid)) >> 20} MiB`)
    })

  test('EMFILE when connections are accepted: they wait', async () => {
    const { process, oracle } = await shared
    const window = await faulty(process.pid, { calls: ['accept4', 'accept'] }, 'EMFILE')
    const sent = oracle.send('alice', 'bob', 100)
    await sleep(100)
    await window[Symbol.asyncDispose]()
    assert.notEqual(await sent, 'refused')
    assert.equal(await oracle.send('alice', 'bob', 100), 'accepted')
  })

  test('EMFILE when a content is read: the fetch breaks off, and the next one brings everything', async () => {
    const { process, oracle, folder } = await shared
    await oracle.fetch('bob')
    await oracle.send('alice', 'bob', 70_000)
    const paths = incoming.map((file) => path.join(folder, file.replace('incoming/', '')))
    {
      await using _ = await faulty(process.pid, { calls: ['openat'], paths }, 'EMFILE')
      assert.equal(await oracle.fetch('bob'), undefined)
    }
    assert.equal(await oracle.fetch('bob'), 1)
    oracle.throwProblems()
  })

  test('and afterwards nothing is lost, half stored or leaked', async () => {
    const { process, oracle, folder, residentBefore } = await shared
    await oracle.judge()
    assert((await residentBytes(process.pid)) < residentBefore + 64 * 2 ** 20, 'memory stays')
    assert.deepEqual(await process.end(), { code: 0, signal: null })
    await using again = await ServerProcess.start({ folder })
    assert(
      again.run.log.some(({ orphansRemoved }) => orphansRemoved === 0),
      'no file was left over',
    )
    oracle.meet(again.address)
    await oracle.judge()
  })

  let shared: Promise<Shared>
  before(() => {
    shared = open()
  })
  after(async () => {
    const { process, folder } = await shared
    await process[Symbol.asyncDispose]()
    await rm(path.dirname(folder), { recursive: true })
  })

  interface Shared {
    readonly process: ServerProcess
    readonly oracle: Oracle
    readonly folder: string
    readonly residentBefore: number
  }

  async function open(): Promise<Shared> {
    const folder = await temporaryFolder()
    const process = await ServerProcess.start({ folder: folder.of('data') })
    const oracle = new Oracle()
    oracle.meet(process.address)
    for (const name of ['alice', 'bob']) await oracle.register(name)
    for (let i = 0; i < 20; i++) await oracle.send('alice', 'bob', 70_000)
    await fetchAndForget(oracle)
    return { process, oracle, folder: folder.of('data'), residentBefore: await residentBytes(process.pid) }
  }
})

test('K05 a disk of 16 MB that is really full', async (t) => {
  await using disk = await smallDisk()
  if (disk === undefined) {
    t.skip('no tmpfs can be mounted here')
    return
  }
  const ballast = path.join(disk.path, 'ballast')
  await writeFile(ballast, Buffer.alloc(6 * 2 ** 20))
  await using server = await ServerProcess.start({ folder: path.join(disk.path, 'data') })
  const oracle = new Oracle()
  oracle.meet(server.address)
  for (const name of ['alice', 'bob']) await oracle.register(name)
  for (const bytes of [200_000, 30_000]) {
    let outcome = await oracle.send('alice', 'bob', bytes)
    for (let i = 0; i < 500 && outcome === 'accepted'; i++) outcome = await oracle.send('alice', 'bob', bytes)
    assert.equal(outcome, 'refused', 'the disk is full')
  }
  assert.notEqual(await oracle.fetch('bob'), undefined, 'fetches go on')
  oracle.meet(server.address) // a removal needs room as well
  await rm(ballast)
  await eventually(async () => (await oracle.send('alice', 'bob', 200_000)) === 'accepted')
  assert.equal(await oracle.send('alice', 'bob', 1000), 'accepted')
  await oracle.judge()
  assert.deepEqual(await server.end(), { code: 0, signal: null })
})

/** Fetches what waits; a second fetch waits until its removal is durable: no fault that comes later can undo it. */
async function fetchAndForget(oracle: Oracle): Promise<void> {
  assert.notEqual(await oracle.fetch('bob'), undefined)
  assert.equal(await oracle.fetch('bob'), 0)
}

/** The server looks at the disk once a second. */
async function eventually(succeeds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 40; i++) {
    if (await succeeds()) return
    await sleep(100)
  }
  assert.fail('it never does')
}

async function smallDisk(): Promise<(AsyncDisposable & { path: string }) | undefined> {
  const folder = await temporaryFolder()
  const disk = folder.of('disk')
  await mkdir(disk)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk]).status !== 0) {
    await folder[Symbol.asyncDispose]()
    return undefined
  }
  return {
    path: disk,
    async [Symbol.asyncDispose]() {
      spawnSync('umount', ['-l', disk])
      await folder[Symbol.asyncDispose]()
    },
  }
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024
}

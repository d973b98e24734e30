import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { lstat, mkdir, open, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { hostname } from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Oracle } from './oracle.ts'
import { copyFolder, run, ServerProcess, temporaryFolder } from './serverProcess.ts'
import { type Call, needsStrace, readTrace } from './strace.ts'
import { randomFrom, trouble } from './trouble.ts'
import { type Address, ask, breakOffFetch, fetch, list, publicKeyOf, register, request, send } from './v2peer.ts'

const serving = ['serve', '--port', '0', '--v2-port', '0', '--disk-reserve', '0%', '--data']

suite('K08 one server per folder', () => {
  test('a second server ends at once and says whose the folder is', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await using first = await ServerProcess.start({ folder })
    const second = await run([...serving, folder])
    assert.equal(second.exit.code, 1)
    assert.match(second.err, new RegExp(`in use by process ${first.pid} on ${hostname()}`))
    assert.match(second.err, /try: stop that server, or use another folder/)
    const oracle = new Oracle()
    oracle.meet(first.address)
    await oracle.register('alice')
    assert.equal(await oracle.send('alice', 'alice', 100), 'accepted', 'the first one is not disturbed')
  })

  test('of four that start at once, one runs', async () => {
    await using temporary = await temporaryFolder()
    const starts = [1, 2, 3, 4].map(() => ServerProcess.start({ folder: temporary.of('data') }))
    const outcomes = await Promise.allSettled(starts)
    const running = outcomes.filter((outcome) => outcome.status === 'fulfilled')
    for (const { value } of running) await value[Symbol.asyncDispose]()
    assert.equal(running.length, 1)
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') assert.match(String(outcome.reason), /"code":"in-use"/)
  })

  test('the lock of a killed server is free', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const killed = await ServerProcess.start({ folder })
    await killed.end('SIGKILL')
    await using next = await ServerProcess.start({ folder })
    assert.deepEqual(await next.end(), { code: 0, signal: null })
  })
})

suite('K09 stopping', { concurrency: 3 }, () => {
  test('SIGTERM under load: everything that was answered is there, and nothing else was', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const oracle = new Oracle()
    const names = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'heidi']
    for (let round = 0; round < 3; round++) {
      await using server = await ServerProcess.start({ folder })
      oracle.meet(server.address)
      if (round === 0) for (const name of names) await oracle.register(name)
      const over = new AbortController()
      const told = trouble(oracle, names, randomFrom(round), over.signal)
      await sleep(300)
      const began = performance.now()
      const exit = server.end()
      void server.exited.then(() => over.abort())
      assert.deepEqual(await exit, { code: 0, signal: null })
      assert(performance.now() - began < 10_000)
      await told
    }
    await using server = await ServerProcess.start({ folder })
    oracle.meet(server.address)
    await oracle.judge()
  })

  test('SIGTERM as soon as it listens', async () => {
    await using temporary = await temporaryFolder()
    for (let i = 0; i < 3; i++) {
      await using server = await ServerProcess.start({ folder: temporary.of('data') })
      assert.deepEqual(await server.end(), { code: 0, signal: null })
    }
  })

  test('a peer that never finishes holds it up for less than 10 s, a second SIGTERM ends that', async () => {
    await using temporary = await temporaryFolder()
    const folders = [temporary.of('one'), temporary.of('two')]
    const [patient, hurried] = await Promise.all(folders.map((folder) => ServerProcess.start({ folder })))
    assert(patient !== undefined && hurried !== undefined)
    await using _ = patient
    await using __ = hurried
    await using ___ = await endlessUpload(hurried.address)
    await using ____ = await endlessUpload(patient.address)
    const began = performance.now()
    for (const { run } of [patient, hurried]) run.child.kill('SIGTERM')
    await sleep(500)
    for (const { run } of [patient, hurried]) assert.equal(run.child.exitCode, null, 'it waits for what is under way')
    hurried.run.child.kill('SIGTERM')
    assert.deepEqual(await hurried.exited, { code: 0, signal: null })
    assert.equal(patient.run.child.exitCode, null, 'the other one still waits')
    assert.deepEqual(await patient.exited, { code: 0, signal: null })
    const lasted = performance.now() - began
    assert(lasted < 10_000, `${lasted} ms`)
  })

  test('a disk that stands still does not hold it up for longer than 10 s', needsStrace, async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const tracing = {
      calls: ['fsync', 'fdatasync'],
      paths: [path.join(folder, 'server.db-wal')],
      inject: 'delay_enter=60s:when=8',
    }
    await using server = await ServerProcess.start({ folder, tracing })
    const oracle = new Oracle()
    oracle.meet(server.address)
    await oracle.register('alice')
    const sends = (async () => {
      for (let i = 0; i < 20; i++) await oracle.send('alice', 'alice', 100)
    })()
    await sleep(1000)
    const tracer = Number(/TracerPid:\s+(\d+)/.exec(await readFile(`/proc/${server.pid}/status`, 'utf8'))?.[1])
    const began = performance.now()
    server.run.child.kill('SIGTERM')
    await server.run.until(() => server.run.log.at(-1)?.event === 'stop-failed')
    assert(performance.now() - began < 10_000)
    await sends // its connections end with it
    await sleep(1000) // it ends itself, while the disk still does not answer
    process.kill(tracer, 'SIGKILL') // which would hold the dead thread until its delay is over
    assert.deepEqual(await server.exited, { code: null, signal: 'SIGKILL' })
    await using next = await ServerProcess.start({ folder })
    oracle.meet(next.address)
    await oracle.judge()
  })

  test('SIGTERM to npm start stops the server, and leaves nothing behind', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_)/.test(name)))
    const npm = spawn('npm', ['start', '--', '--json', '--data', folder, '--port', '0', '--v2-port', '0'], {
      cwd: path.join(import.meta.dirname, '..'),
      stdio: ['ignore', 'pipe', 'ignore'],
      env: environment,
    })
    let out = ''
    for await (const chunk of npm.stdout.setEncoding('utf8')) {
      out += chunk
      if (out.includes('"listening"')) break
    }
    const { v2 } = JSON.parse(out.split('\n').find((line) => line.startsWith('{')) ?? '') as { v2: Address }
    const { pid } = JSON.parse(await readFile(path.join(folder, 'owner'), 'utf8')) as { pid: number }
    const exited = once(npm, 'exit')
    npm.kill('SIGTERM')
    assert.deepEqual(await exited, [0, null])
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' }, 'the server is gone')
    await assert.rejects(once(connect(v2), 'connect'), { code: 'ECONNREFUSED' })
  })
})

/** A large message of which only the beginning ever comes. */
async function endlessUpload(server: Address): Promise<AsyncDisposable> {
  const told = await register(server, 'endless', randomBytes(160))
  assert(told.kind === 'answer')
  const head = Buffer.alloc(21)
  Buffer.from(told.value, 'hex').copy(head)
  head.writeUInt8(4, 16)
  head.writeUInt32LE(1_000_000, 17)
  const whole = request(told.value, 103, head, Buffer.alloc(1_000_000))
  const socket = connect({ ...server, allowHalfOpen: true })
  socket.on('error', () => {})
  socket.write(whole.subarray(0, 500_000))
  await sleep(100)
  return {
    async [Symbol.asyncDispose]() {
      socket.destroy()
    },
  }
}

suite('K12 the data folder is for its owner only', () => {
  test('under an open umask everything is 0700 or 0600', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await using server = await ServerProcess.start({ folder, umask: 0 })
    const oracle = new Oracle()
    oracle.meet(server.address)
    await oracle.register('alice')
    await oracle.send('alice', 'alice', 100_000)
    const backup = await run(['admin', 'backup', temporary.of('backup'), '--data', folder], { umask: 0 })
    assert.equal(backup.exit.code, 0, backup.err)
    for (const root of [folder, temporary.of('backup')])
      for (const name of ['', ...(await readdir(root, { recursive: true }))]) {
        const status = await lstat(path.join(root, name))
        assert.equal(status.mode & 0o777, status.isDirectory() ? 0o700 : 0o600, path.join(root, name))
      }
  })

  test('and that from the first byte on', needsStrace, async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const output = temporary.of('trace')
    {
      const tracing = { calls: ['openat', 'open', 'mkdir', 'mkdirat'], output }
      await using server = await ServerProcess.start({ folder, umask: 0, tracing })
      const oracle = new Oracle()
      oracle.meet(server.address)
      await oracle.register('alice')
      await oracle.send('alice', 'alice', 100_000)
      await oracle.fetch('alice')
      await server.end()
    }
    const created = new Map<string, Call>()
    for (const call of readTrace(await readFile(output, 'utf8'))) {
      const [, file] = /"([^"]*)"/.exec(call.text) ?? []
      const creates = call.name.startsWith('mkdir') || call.text.includes('O_CREAT')
      if (file?.startsWith(folder) && creates && !created.has(file)) created.set(file, call)
    }
    assert(created.size > 5)
    for (const { name, text } of created.values()) assert.match(text, name.startsWith('mkdir') ? /, 0700$/ : /, 0600$/)
  })

  for (const name of ['', 'server.db', 'server.db-wal', 'lock', 'content', 'content/incoming'])
    test(`a link instead of ${name || 'the folder'} is refused`, async () => {
      await using temporary = await temporaryFolder()
      const folder = temporary.of('data')
      const elsewhere = temporary.of('elsewhere')
      const isFolder = ['', 'content', 'content/incoming'].includes(name)
      await (isFolder ? mkdir(elsewhere) : writeFile(elsewhere, ''))
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true, mode: 0o700 })
      if (name !== 'server.db') await writeFile(path.join(name === '' ? elsewhere : folder, 'server.db'), '')
      await symlink(elsewhere, path.join(folder, name))
      const { exit, err } = await run([...serving, folder])
      assert.equal(exit.code, 1)
      assert.match(err, /link/)
      if (name !== '') assert.equal((await lstat(elsewhere)).size, isFolder ? (await lstat(elsewhere)).size : 0)
      if (isFolder && name !== '') assert.deepEqual(await readdir(elsewhere), [])
    })
})

test('I4 what clients write and who they are is not in the log', async () => {
  await using temporary = await temporaryFolder()
  const canary = `canary-${randomBytes(12).toString('hex')}`
  const content = Buffer.from(`${canary}-content`)
  await using server = await ServerProcess.start({ folder: temporary.of('data'), flags: ['--log-level', 'debug'] })
  const { address } = server
  const told = await register(address, canary, randomBytes(160))
  assert(told.kind === 'answer')
  const id = told.value
  assert.equal((await register(address, canary, randomBytes(160))).kind, 'refused')
  await ask(address, request('0'.repeat(32), 100, Buffer.alloc(415, content)))
  await ask(address, request(id, 99, content))
  await ask(address, request(content.toString('hex').slice(0, 32), 104))
  await send(address, id, id, content)
  await send(address, id, id, Buffer.alloc(100_000, content))
  await send(address, id, content.toString('hex').slice(0, 32), content)
  await breakOffFetch(address, id)
  await fetch(address, id)
  await list(address, id)
  await publicKeyOf(address, id, id)
  await server.end()
  const { out, err } = server.run
  assert.match(err, /v2-refused/)
  assert.match(err, /v2-fetched/)
  for (const secret of [Buffer.from(canary), content, Buffer.from(id, 'hex')])
    for (const form of formsOf(secret)) assert(!(out + err).includes(form), `${form} is in the log`)
})

/** How bytes could look in a log. */
function formsOf(bytes: Buffer): string[] {
  const part = bytes.subarray(0, 12) // an even multiple of 3, so that base64 of the whole begins with that of the part
  const hexadecimal = part.toString('hex')
  return [
    bytes.toString('latin1'),
    hexadecimal,
    hexadecimal.toUpperCase(),
    part.toString('base64'),
    part.toString('base64url'),
    [...part].join(','),
    [...part].join(', '),
    part.toString('utf16le'),
  ]
}

suite('I10 damaged storage stops the start, and nothing is touched', () => {
  /** People and messages of each kind in a database; in one folder further ones in a log, of a server that was killed. */
  async function live(): Promise<{ path: string } & AsyncDisposable> {
    const temporary = await temporaryFolder()
    const oracle = new Oracle()
    for (const [folder, names] of Object.entries({ stopped: ['alice', 'bob'], killed: ['carol'] })) {
      if (folder === 'killed') await copyFolder(temporary.of('stopped'), temporary.of('killed'))
      await using server = await ServerProcess.start({ folder: temporary.of(folder) })
      oracle.meet(server.address)
      for (const name of names) await oracle.register(name)
      for (let i = 0; i < 30; i++) await oracle.send('alice', 'bob', 3000)
      await oracle.send('alice', 'bob', 100_000)
      await server.end(folder === 'killed' ? 'SIGKILL' : 'SIGTERM')
    }
    return temporary
  }

  let lived: Promise<{ path: string } & AsyncDisposable>
  before(() => {
    lived = live()
  })
  after(async () => (await lived)[Symbol.asyncDispose]())

  /** A byte in the middle of the newest place where `file` holds `what`. */
  async function flip(file: string, at: (bytes: Buffer) => number): Promise<void> {
    const bytes = await readFile(file)
    const place = at(bytes)
    assert(place >= 0 && place < bytes.length)
    await using handle = await open(file, 'r+')
    await handle.write(Buffer.of((bytes[place] as number) ^ 0x10), 0, 1, place)
  }

  const sql = (folder: string, statement: string): void => {
    const database = new DatabaseSync(path.join(folder, 'server.db'))
    database.exec(statement)
    database.close()
  }

  type Damage = {
    what: string
    killed?: boolean
    names: RegExp
    code?: string
    inflict(folder: string): Promise<void>
  }
  const damages: Damage[] = [
    { what: 'the header of the database', names: /server\.db/, inflict: (at) => flip(`${at}/server.db`, () => 3) },
    { what: 'an interior page', names: /server\.db/, inflict: (at) => flip(`${at}/server.db`, () => 4096 + 3) },
    {
      what: 'a name in a row',
      names: /server\.db.*client 2/,
      inflict: (at) => flip(`${at}/server.db`, (b) => b.lastIndexOf('bob')),
    },
    {
      what: 'a name in a row that is in the log',
      killed: true,
      names: /server\.db/,
      inflict: (at) => flip(`${at}/server.db-wal`, (b) => b.indexOf('carol')),
    },
    {
      what: 'the header of the log',
      killed: true,
      names: /server\.db-wal/,
      inflict: (at) => flip(`${at}/server.db-wal`, () => 9),
    },
    {
      what: 'a journal row',
      names: /server\.db.*journal/,
      inflict: async (at) => sql(at, "UPDATE journal SET changes = x'010203' WHERE number = 2"),
    },
    { what: 'a database that is gone', names: /server\.db.*missing/, inflict: (at) => rm(`${at}/server.db`) },
    {
      what: 'a database that is cut short, and a log',
      killed: true,
      names: /server\.db/,
      inflict: (at) => truncate(`${at}/server.db`, 8192),
    },
    { what: 'a database that is cut short', names: /server\.db/, inflict: (at) => truncate(`${at}/server.db`, 8192) },
    {
      what: 'something else in its place',
      names: /server\.db/,
      inflict: (at) => writeFile(`${at}/server.db`, randomBytes(20_000)),
    },
    {
      what: 'a database of another program',
      names: /server\.db.*not a database of MessageU/,
      inflict: async (at) => {
        await rm(`${at}/server.db`)
        sql(at, 'CREATE TABLE other(a)')
      },
    },
    {
      what: 'a database of a newer program',
      code: 'newer-storage',
      names: /schema 999.*newer/,
      inflict: async (at) => sql(at, 'PRAGMA user_version=999'),
    },
  ]
  for (const { what, killed = false, names, code = 'damaged', inflict } of damages)
    test(what, async () => {
      await using temporary = await temporaryFolder()
      const folder = temporary.of('data')
      await copyFolder(path.join((await lived).path, killed ? 'killed' : 'stopped'), folder)
      await inflict(folder)
      const before = await hashesOf(folder)
      const human = await run([...serving, folder])
      const json = await run([...serving, folder, '--json'])
      assert.deepEqual(await hashesOf(folder), before, 'nothing was changed')
      assert.deepEqual([human.exit.code, json.exit.code], [1, 1])
      assert.match(human.err, names)
      const error = json.events.find(({ event }) => event === 'error')
      assert.equal(error?.code, code)
      if (code === 'damaged') assert.match(String(error?.try), /messageu admin doctor --data .*, then restore a backup/)
    })
})

/** Everything that is data; who has the lock is not. */
async function hashesOf(folder: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {}
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    if (['lock', 'owner', 'server.db-shm'].includes(name)) continue
    const file = path.join(folder, name)
    const status = await lstat(file)
    if (name === 'server.db-wal' && status.size === 0) continue
    hashes[name] = status.isFile()
      ? createHash('sha256')
          .update(await readFile(file))
          .digest('hex')
      : 'folder'
  }
  return hashes
}

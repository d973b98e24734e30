import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Oracle } from './oracle.ts'
import { Run, run, ServerProcess, temporaryFolder } from './serverProcess.ts'
import { randomFrom, trouble } from './trouble.ts'

const doctor = (folder: string, ...flags: string[]) => run(['admin', 'doctor', '--data', folder, ...flags])
const backup = (folder: string, target: string) => run(['admin', 'backup', target, '--data', folder, '--json'])
const restore = (source: string, folder: string) => run(['admin', 'restore', source, '--data', folder, '--json'])

/** A stopped server with two people, small and large messages, some of them delivered. */
async function lived(folder: string): Promise<Oracle> {
  const oracle = new Oracle()
  await using server = await ServerProcess.start({ folder })
  oracle.meet(server.address)
  for (const name of ['alice', 'bob']) await oracle.register(name)
  for (const bytes of [100, 70_000, 200]) await oracle.send('alice', 'bob', bytes)
  await oracle.fetch('bob')
  for (const bytes of [100, 70_000, 3000]) await oracle.send('alice', 'bob', bytes)
  await oracle.send('bob', 'alice', 300)
  await server.end()
  return oracle
}

/** The one content that waits in a lived-in folder. */
async function contentOf(folder: string): Promise<string> {
  const name = (await readdir(path.join(folder, 'content'))).find((each) => each !== 'incoming')
  return path.join(folder, 'content', name ?? assert.fail('a content waits'))
}

async function overwrite(file: string, at: number, bytes: Buffer): Promise<void> {
  await using handle = await open(file, 'r+')
  await handle.write(bytes, 0, bytes.length, at)
}

suite('doctor', () => {
  test('finds a healthy folder healthy, beside a running server too, and exits with 0', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await lived(folder)
    const stopped = await doctor(folder)
    assert.equal(stopped.exit.code, 0)
    assert.equal(stopped.out, 'ok      server.db: 2 clients, 4 messages waiting\n')
    await using server = await ServerProcess.start({ folder })
    const running = await doctor(folder, '--json')
    assert.equal(running.exit.code, 0)
    assert.deepEqual(running.events, [
      { v: 1, event: 'finding', kind: 'ok', object: 'lock', what: `in use by process ${server.pid}` },
      { v: 1, event: 'finding', kind: 'ok', object: 'server.db', what: '2 clients, 4 messages waiting' },
    ])
  })

  test('names what is damaged, and exits with 1', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await lived(folder)
    const content = await contentOf(folder)
    await overwrite(content, 500, Buffer.from('?'))
    const json = await doctor(folder, '--json')
    assert.equal(json.exit.code, 1)
    const object = path.relative(folder, content)
    assert.deepEqual(json.events[0], {
      v: 1,
      event: 'finding',
      kind: 'damage',
      object,
      what: 'its bytes do not match their digest',
    })
    assert.equal(json.events.at(-1)?.code, 'damaged')
    const human = await doctor(folder)
    assert.equal(human.exit.code, 1)
    assert.match(human.out, new RegExp(`^damage +${object}: its bytes`))
    assert.match(human.err, /^error: 1 damaged object in .*\n.*\n {2}try: restore a backup into a new folder/)
  })

  test('warns about open modes and left-over contents, and exits with 0', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await lived(folder)
    await writeFile(path.join(folder, 'content', '4711'), 'nobody')
    await chmod(path.join(folder, 'server.db'), 0o644)
    const { exit, out } = await doctor(folder)
    assert.equal(exit.code, 0)
    assert.match(out, /warning .*server\.db: others may look into it/)
    assert.match(out, /warning content\/4711: belongs to no message/)
  })
})

suite('backup and restore', () => {
  test('U04 a backup under load, restored elsewhere, holds everything that was accepted before it began', async (t) => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const oracle = new Oracle()
    const names = ['alice', 'bob', 'carol', 'dave']
    let before: Oracle
    {
      await using server = await ServerProcess.start({ folder })
      oracle.meet(server.address)
      for (const name of names) await oracle.register(name)
      for (let i = 0; i < 20; i++) await oracle.send('alice', 'bob', i % 4 === 0 ? 70_000 : 500)
      before = oracle.copy()
      const over = new AbortController()
      // nobody fetches what was there before: the backup has to have it
      const told = trouble(oracle, ['carol', 'dave'], randomFrom(4), over.signal)
      await sleep(100)
      const made = await backup(folder, temporary.of('backup'))
      over.abort()
      await told
      assert.equal(made.exit.code, 0, made.out + made.err)
      const { files, bytes, ms } = made.events[0] as Record<string, number>
      t.diagnostic(`${files} files, ${bytes} bytes in ${ms} ms`)
      assert(!leftOver(folder), 'nothing is left over')
    }
    const restored = await restore(temporary.of('backup'), temporary.of('restored'))
    assert.equal(restored.exit.code, 0, restored.out + restored.err)
    assert.equal((await doctor(temporary.of('restored'))).exit.code, 0)
    await using server = await ServerProcess.start({ folder: temporary.of('restored') })
    before.meet(server.address)
    await before.fetch('bob')
    assert.equal(before.waiting, 0, 'everything that was accepted before is there')
    before.throwProblems()
    assert.equal(await before.send('alice', 'bob', 100), 'accepted')
    assert(before.highestId > oracle.highestId, 'and no position is used again')
  })

  test('a backup refuses a folder with something in it, and a data folder that is none', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await lived(folder)
    await mkdir(temporary.of('full'))
    await writeFile(path.join(temporary.of('full'), 'mine'), 'mine')
    const full = await backup(folder, temporary.of('full'))
    assert.equal(full.exit.code, 1)
    assert.match(full.out, /"code":"backup".*is not empty: name a folder that is new or empty/)
    assert.deepEqual(await readdir(temporary.of('full')), ['mine'])
    const none = await backup(temporary.of('nowhere'), temporary.of('target'))
    assert.equal(none.exit.code, 1)
    assert.match(none.out, /nowhere/)
    assert.deepEqual((await readdir(temporary.path)).sort(), ['data', 'full'], 'nothing was created')
  })

  test('a restore refuses a folder in use, and a backup that is incomplete or altered', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await lived(folder)
    const good = temporary.of('backup')
    assert.equal((await backup(folder, good)).exit.code, 0)
    const occupied = await restore(good, folder)
    assert.equal(occupied.exit.code, 1)
    assert.match(occupied.out, /is not empty/)

    await overwrite(path.join(good, path.relative(folder, await contentOf(folder))), 1000, Buffer.from('?'))
    const altered = await restore(good, temporary.of('restored'))
    assert.equal(altered.exit.code, 1)
    assert.match(altered.out, /"code":"backup".*is missing or not what was backed up: use another backup/)
    await rm(path.join(good, 'manifest.json'))
    const incomplete = await restore(good, temporary.of('restored'))
    assert.equal(incomplete.exit.code, 1)
    assert.match(incomplete.out, /"code":"backup".*is not a whole backup/)
    await assert.rejects(readdir(temporary.of('restored')), { code: 'ENOENT' }, 'nothing is restored')
  })

  test('what a killed backup left is out of the way, and gone after the next one', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    const oracle = await lived(folder)
    const interrupted = new Run(['admin', 'backup', temporary.of('first'), '--data', folder], {})
    while (!leftOver(folder)) await sleep(1)
    interrupted.child.kill('SIGKILL')
    await interrupted.exited
    assert(leftOver(folder))
    assert.match((await doctor(folder)).out, /warning backup-staging: left by a backup that was cut short/)
    assert.equal((await restore(temporary.of('first'), temporary.of('bad'))).exit.code, 1, 'half a backup is none')
    assert.equal((await backup(folder, temporary.of('second'))).exit.code, 0)
    assert(!leftOver(folder))
    await using server = await ServerProcess.start({ folder })
    oracle.meet(server.address)
    await oracle.judge()
  })

  test('two backups at once: the second is refused, the first is good', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await lived(folder)
    const outcomes = await Promise.all(['one', 'two', 'three'].map((name) => backup(folder, temporary.of(name))))
    const made = outcomes.findIndex(({ exit }) => exit.code === 0)
    for (const { exit, out } of outcomes) if (exit.code !== 0) assert.match(out, /another backup is under way/)
    assert.equal(
      (await restore(temporary.of(['one', 'two', 'three'][made] as string), temporary.of('again'))).exit.code,
      0,
    )
  })

  test('a killed restore leaves a folder that no server takes for a whole one', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await lived(folder)
    assert.equal((await backup(folder, temporary.of('backup'))).exit.code, 0)
    // as it is when the last step is missing
    assert.equal((await restore(temporary.of('backup'), temporary.of('restored'))).exit.code, 0)
    await rename(
      path.join(temporary.of('restored'), 'server.db'),
      path.join(temporary.of('restored'), 'server.db.restoring'),
    )
    const { exit, out } = await run([
      'serve',
      '--json',
      '--port',
      '0',
      '--v2-port',
      '0',
      '--data',
      temporary.of('restored'),
    ])
    assert.equal(exit.code, 1)
    assert.match(out, /"code":"damaged".*a restore into this folder did not come to its end/)
  })
})

suite('the people of a running server', () => {
  for (const registration of ['invite', 'open'])
    test(`come by an invite, are seen, get a quota, and are blocked, where registration is ${registration}`, async () => {
      await using temporary = await temporaryFolder()
      const folder = temporary.of('data')
      await using server = await ServerProcess.start({ folder, flags: ['--registration', registration] })
      const { adminInvite } = server.run.events.find(({ event }) => event === 'listening') as { adminInvite: string }
      const register = (name: string, link: string) =>
        run([
          'register',
          name,
          '--server',
          link,
          '--words-file',
          temporary.of(`${name}.words`),
          '--data-dir',
          temporary.of(name),
        ])
      const admin = (...args: string[]) => run(['admin', ...args, '--data', folder, '--json'])

      const first = await register('alice', adminInvite)
      assert.equal(first.exit.code, 0, first.err)
      assert.notEqual((await register('mallory', adminInvite)).exit.code, 0, 'it was for one person')
      const [invited] = (await admin('invite')).events
      assert.equal(invited?.isAdmin, false)
      assert.equal((await register('bob', String(invited?.link))).exit.code, 0)

      const { events } = await admin('accounts')
      assert.deepEqual(
        events.map(({ name, isAdmin, isDisabled, devices }) => ({ name, isAdmin, isDisabled, devices })),
        [
          { name: 'alice', isAdmin: true, isDisabled: false, devices: 1 },
          { name: 'bob', isAdmin: false, isDisabled: false, devices: 1 },
        ],
      )
      assert.equal((await admin('quota', 'bob', '5MiB')).events[0]?.quotaBytes, 5 * 2 ** 20)
      assert.equal((await admin('block', 'bob')).events[0]?.isDisabled, true)
      assert.notEqual((await people(temporary.of('bob'))).exit.code, 0, 'bob gets no session')
      assert.equal((await people(temporary.of('alice'))).exit.code, 0)
      assert.equal((await admin('block', 'bob', '--undo')).events[0]?.isDisabled, false)
      assert.equal((await people(temporary.of('bob'))).exit.code, 0)
      const { counts } = (await admin('stats')).events[0] as { counts: Record<string, number> }
      assert.equal(counts.accounts, 2)
    })

  test('are told to people in lines', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    await using server = await ServerProcess.start({ folder })
    await run([
      'register',
      'alice',
      '--server',
      server.link,
      '--words-file',
      temporary.of('words'),
      '--data-dir',
      temporary.of('alice'),
    ])
    const blocked = await run(['admin', 'block', 'alice', '--data', folder])
    assert.match(blocked.out, /^alice {2}1 device {2}0 B of \S+ GB {2}blocked\n$/)
    const stats = await run(['admin', 'stats', '--data', folder])
    assert.match(stats.out, /^accounts +1\nconnections +\d+\nsessions +0\n/)
    const invite = await run(['admin', 'invite', '--admin', '--data', folder])
    assert.match(
      invite.out,
      /^messageu:\/\/127\.0\.0\.1:\d+\/#[\w-]{43}\/[\w-]{22}\nfor an administrator, once, until 20/,
    )
  })

  const mistakes: [what: string, args: string[], exit: number, says: RegExp][] = [
    ['nobody has the name', ['block', 'nobody'], 6, /no account with this name/],
    ['a name is none', ['block', '../x'], 2, /a name is letters and digits/],
    ['a size is none', ['quota', 'alice', '5'], 2, /5 is no size/],
  ]
  for (const [what, args, exit, says] of mistakes)
    test(`are left alone when ${what}`, async () => {
      await using temporary = await temporaryFolder()
      const folder = temporary.of('data')
      await using _server = await ServerProcess.start({ folder })
      const done = await run(['admin', ...args, '--data', folder])
      assert.equal(done.exit.code, exit, done.err)
      assert.match(done.err, says)
    })

  test('cannot be asked about where no server runs, which is said', async () => {
    await using temporary = await temporaryFolder()
    const folder = temporary.of('data')
    {
      await using server = await ServerProcess.start({ folder })
      await server.end('SIGKILL') // its socket stays behind
    }
    for (const data of [folder, temporary.of('nowhere')]) {
      const { exit, events } = await run(['admin', 'stats', '--data', data, '--json'])
      assert.equal(exit.code, 3)
      assert.equal(events[0]?.code, 'no-running-server')
      assert.match(String(events[0]?.try), /messageu serve --data/)
    }
    await using _again = await ServerProcess.start({ folder })
    assert.equal((await run(['admin', 'stats', '--data', folder])).exit.code, 0)
  })
})

const people = (dir: string) => run(['people', '--data-dir', dir])

function leftOver(folder: string): boolean {
  return existsSync(path.join(folder, 'backup-staging', 'files'))
}

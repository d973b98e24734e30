import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { openProfile } from '@messageu/client/node'
import { launcher } from '../../packages/cli/test/launcher.ts'
import { events } from '../../packages/cli/test/v2/world.ts'
import { run, ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { first, shell } from './shell.ts'
import { gathered, hasTerminal, Terminal, turn } from './terminal.ts'

/** An address of this machine that is not loopback: there the client insists on TLS. */
const outside = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address
const exposed = ['--host', '0.0.0.0', '--link-host', outside ?? '']

describe('on a server of its own', () => {
  test('a script registers, looks around, and recovers; the old device is told that it is off the list', async () => {
    await using folder = await temporaryFolder('memory')
    await using server = await ServerProcess.start({ folder: folder.of('server') })
    const cli = shell(folder, server.link)
    const registered = await cli(['register', 'alice', '--json'])
    const alice = first(registered)
    assert.deepEqual([registered.code, alice.event, alice.name, alice.isAdmin], [0, 'registered', 'alice', false])
    const file = String(alice.wordsFile)
    assert.equal(file, path.join(folder.of('profiles'), 'default', 'recovery-words.txt'))
    const words = await readFile(file, 'utf8')
    assert(!registered.out.includes(words.trim()) && !registered.err.includes(words.trim()))
    if (process.platform !== 'win32')
      for (const name of await readdir(path.dirname(file)))
        assert.equal((await stat(path.join(path.dirname(file), name))).mode & 0o077, 0, name)
    assert.equal((await cli(['register', 'bob', '--profile', 'bob'])).code, 0)
    assert.deepEqual((await cli(['people'])).out, 'bob\n')
    assert.equal(first(await cli(['people', 'bob', '--json'])).name, 'bob')
    assert.deepEqual((await cli(['people', 'nobody', '--json'])).code, 6)

    const recovered = await cli(['recover', '--profile', 'new', '--json'], words)
    assert.deepEqual([recovered.code, first(recovered).account], [0, alice.account])
    assert(!recovered.out.includes(words.slice(0, 20)))
    const old = await cli(['people', '--json'])
    assert.deepEqual([old.code, first(old).code], [4, 'delisted'])
    const list = events(await cli(['device', 'list', '--profile', 'new', '--json']))
    assert.deepEqual(
      list.map(({ device, isThis }) => ({ device, isThis })),
      [{ device: first(recovered).device, isThis: true }],
    )
  })

  test('a taken name and its twin are refused, and so is a second account in one profile', async () => {
    await using folder = await temporaryFolder('memory')
    await using server = await ServerProcess.start({ folder: folder.of('server') })
    const cli = shell(folder, server.link)
    await cli(['register', 'alice'])
    const outcomes = [
      [['register', 'alice', '--profile', 'b'], 1, 'name-taken'],
      [['register', 'A1ICE', '--profile', 'c'], 1, 'name-taken'],
      [['register', 'carol'], 1, 'already-registered'],
      [['recover', '--words-file', 'anything'], 1, 'already-registered'],
    ] as const
    for (const [args, code, word] of outcomes) {
      const ended = await cli([...args, '--json'])
      assert.deepEqual([ended.code, first(ended).code], [code, word], args.join(' '))
    }
  })

  test('closed registration lets nobody in', async () => {
    await using folder = await temporaryFolder('memory')
    await using server = await ServerProcess.start({ folder: folder.of('server'), flags: ['--registration', 'closed'] })
    const ended = await shell(folder, server.link)(['register', 'alice', '--json'])
    assert.deepEqual([ended.code, first(ended).code], [1, 'refused'])
    assert.match(String(first(ended).try), /^ask the operator/)
  })

  test('S01: after a restore to before Bob came, another Bob is not taken for him', async () => {
    await using folder = await temporaryFolder('memory')
    const cli = shell(folder, '')
    let port = 0
    {
      await using server = await ServerProcess.start({ folder: folder.of('server') })
      port = server.http.port
      await cli(['register', 'alice', '--server', server.link])
      assert.equal((await run(['admin', 'backup', folder.of('copy'), '--data', folder.of('server')])).exit.code, 0)
      await cli(['register', 'bob', '--profile', 'bob', '--server', server.link])
      assert.equal((await cli(['people', 'bob'])).code, 0)
    }
    assert.equal((await run(['admin', 'restore', folder.of('copy'), '--data', folder.of('restored')])).exit.code, 0)
    await using server = await ServerProcess.start({ folder: folder.of('restored'), flags: ['--port', String(port)] })
    assert.equal((await cli(['register', 'bob', '--profile', 'other', '--server', server.link])).code, 0)
    const ended = await cli(['people', 'bob', '--json'])
    assert.equal(ended.code, 5)
    assert.deepEqual(
      events(ended).map(({ code }) => code),
      ['restored', 'account-changed'],
    )
    const list = await cli(['people'])
    assert.equal(list.out, 'bob  ALARM: another account than before\n')

    const refused = await cli(['send', 'bob', 'is it you?', '--json'])
    assert.deepEqual([refused.code, events(refused).at(-1)?.code], [5, 'account-changed'])
    const other = first(await cli(['whoami', '--profile', 'other', '--json'])).account
    const [alarm] = events(await cli(['alarms', '--json']))
    assert.deepEqual([alarm?.alarm, alarm?.name, alarm?.account], ['other-account', 'bob', other])
    const [hers, his] = [
      events(await cli(['verify', 'bob', '--json'])).at(-1),
      first(await cli(['verify', 'alice', '--profile', 'other', '--json'])),
    ]
    assert.deepEqual([hers?.digits, hers?.isVerified], [his.digits, false], 'what is compared is the other account')
    assert.equal((await cli(['verify', 'bob', '--confirm'])).code, 5, 'it is accepted first')
    assert.equal(first(await cli(['alarms', 'accept', 'bob', '--json'])).event, 'accepted')
    assert.equal((await cli(['send', 'bob', 'is it you?'])).code, 0)
    assert.equal((await cli(['alarms'])).out, '')
  })

  test('G06: a message for somebody who is in version 2 only is refused with that reason, and sent in no other way', async () => {
    await using folder = await temporaryFolder('memory')
    await using server = await ServerProcess.start({ folder: folder.of('server') })
    const cli = shell(folder, server.link)
    const { host, port } = server.address
    const v2 = (...args: string[]) =>
      cli(['v2', ...args, '--dir', folder.of('old'), '--server', `${host}:${port}`, '--json'])
    assert.equal((await cli(['register', 'alice'])).code, 0)
    assert.equal((await v2('register', 'bob')).code, 0)
    const attempts = [
      { args: ['send', 'bob', 'in the clear?'], code: 6 },
      { args: ['chat', 'bob'], code: 0 }, // says what became of each line, and goes on
      { args: ['group', 'create', 'mixed', 'bob'], code: 6 },
      { args: ['verify', 'bob'], code: 6 },
      { args: ['people', 'bob'], code: 6 },
    ]
    for (const { args, code } of attempts) {
      const refused = await cli([...args, '--json'], 'in the clear?\n')
      const said = events(refused).at(-1)
      assert.deepEqual([refused.code, said?.code], [code, 'unknown-person'], args.join(' '))
      assert.match(String(said?.try), /version 2 is not reached from here/)
    }
    assert.equal((await cli(['conversations'])).out, '', 'no mixed group was begun')
    const got = await v2('read')
    assert.deepEqual([got.code, got.out.includes('in the clear?')], [0, false])
  })

  test('G08: a version 2 client and a version 3 account of one name neither see nor act for each other', async () => {
    await using folder = await temporaryFolder('memory')
    await using server = await ServerProcess.start({ folder: folder.of('server') })
    const cli = shell(folder, server.link)
    const { host, port } = server.address
    const v2 = (who: string, ...args: string[]) =>
      cli(['v2', ...args, '--dir', folder.of(who), '--server', `${host}:${port}`, '--json'])
    assert.equal((await cli(['register', 'alice'])).code, 0)
    assert.equal((await cli(['register', 'carol', '--profile', 'carol'])).code, 0)
    assert.equal((await v2('alice', 'register', 'alice')).code, 0)
    assert.equal((await v2('bob', 'register', 'bob')).code, 0)
    assert.deepEqual(
      events(await v2('bob', 'people')).map(({ name }) => name),
      ['alice'],
      'the version 2 one, once',
    )
    assert.equal((await v2('bob', 'send', 'carol', 'hello')).code, 6)
    assert.deepEqual((await cli(['people'])).out, 'carol\n')
    assert.equal((await cli(['people', 'bob'])).code, 6)
    const account = String(first(await cli(['people', 'alice', '--profile', 'carol', '--json'])).account)
    assert.equal(account, first(await cli(['whoami', '--json'])).account, 'not the version 2 one')
  })
})

describe('on a server for others', { skip: outside === undefined ? 'this machine has loopback only' : false }, () => {
  test('the first invite makes an administrator, each lets one person in, and none is in the log or in the profile', async () => {
    await using folder = await temporaryFolder('memory')
    await using server = await ServerProcess.start({ folder: folder.of('server'), flags: exposed })
    const cli = shell(folder, server.link)
    const listening = server.run.events.find(({ event }) => event === 'listening')
    const adminInvite = String(listening?.adminInvite)
    const without = await cli(['register', 'alice', '--json'])
    assert.deepEqual([without.code, first(without).code], [1, 'bad-invite'])
    const wrong = await cli(['register', 'alice', '--json', '--server', `${server.link}/${'A'.repeat(22)}`])
    assert.deepEqual([wrong.code, first(wrong).code], [1, 'bad-invite'])
    const admin = await cli(['register', 'alice', '--json', '--server', adminInvite])
    assert.equal(first(admin).isAdmin, true, admin.out)
    const again = await cli(['register', 'bob', '--profile', 'bob', '--json', '--server', adminInvite])
    assert.deepEqual([again.code, first(again).code], [1, 'bad-invite'])

    const made = await run(['admin', 'invite', '--data', folder.of('server'), '--json'])
    const link = String(made.events[0]?.link)
    const bob = await cli(['register', 'bob', '--profile', 'bob', '--json', '--server', link])
    assert.deepEqual([bob.code, first(bob).isAdmin], [0, false], bob.out)
    const carol = await cli(['register', 'carol', '--profile', 'carol', '--json', '--server', link])
    assert.deepEqual([carol.code, first(carol).code], [1, 'bad-invite'])
    for (const invite of [adminInvite, link].map((each) => each.split('/').at(-1) ?? ''))
      for (const text of [server.run.err, again.out, carol.out, bob.out]) assert(!text.includes(invite))
  })

  test('N08: over TLS, a link with the key of another server leads nowhere', async () => {
    await using folder = await temporaryFolder('memory')
    await using server = await ServerProcess.start({ folder: folder.of('server'), flags: exposed })
    const cli = shell(folder, server.link.replace(/#.*/, `#${'B'.repeat(42)}A`))
    const ended = await cli(['register', 'alice', '--json'])
    assert.deepEqual([ended.code, first(ended).code], [5, 'untrusted-server'])
  })
})

describe('without a server', () => {
  test('every failure has its exit code, and with --json one line that a program can read', async () => {
    await using folder = await temporaryFolder('memory')
    const nowhere = `messageu://127.0.0.1:1/#${'A'.repeat(43)}`
    const cli = shell(folder, nowhere)
    await writeFile(folder.of('words'), 'abandon '.repeat(24), { mode: 0o600 })
    const outcomes = [
      [['register', 'alice'], 3, 'unreachable'],
      [['register', 'alice', '--server', 'nonsense'], 2, 'bad-link'],
      [['register', 'x'], 2, 'bad-name'],
      [['register'], 2, 'usage'],
      [['people', '--wrong'], 2, 'usage'],
      [['device', 'nonsense'], 2, 'usage'],
      [['whoami', '--profile', '../x'], 2, 'usage'],
      [['people'], 4, 'not-registered'],
      [['recover', '--profile', 'r'], 2, 'bad-words'],
      [['recover', '--profile', 'r', '--words-file', folder.of('words')], 2, 'bad-words'],
      [['recover', '--profile', 'r', '--words-file', folder.of('none')], 6, 'no-such-file'],
    ] as const
    for (const [args, code, word] of outcomes) {
      const ended = await cli([...args, '--json'])
      assert.deepEqual([ended.code, events(ended).map((event) => event.code)], [code, [word]], args.join(' '))
      assert.equal(ended.err, '')
    }
  })

  test('a profile that another process uses, and a damaged one, are left as they are', async () => {
    await using folder = await temporaryFolder('memory')
    const cli = shell(folder, '')
    {
      await using _held = await openProfile(path.join(folder.of('profiles'), 'default'))
      const ended = await cli(['whoami', '--json'])
      assert.deepEqual([ended.code, first(ended).code], [1, 'in-use'])
    }
    const file = path.join(folder.of('profiles'), 'default', 'profile.db')
    const broken = Buffer.alloc(8192, '?')
    await writeFile(file, broken)
    const ended = await cli(['whoami', '--json'])
    assert.deepEqual([ended.code, first(ended).code], [1, 'damaged'])
    assert.deepEqual(await readFile(file), broken)
  })

  test('Ctrl-C ends the wait for words from a pipe, with 130', async () => {
    await using folder = await temporaryFolder('memory')
    const link = `messageu://127.0.0.1:1/#${'A'.repeat(43)}`
    const place = ['--server', link, '--data-dir', folder.of('profiles')]
    const child = spawn(process.execPath, [launcher, 'recover', '--json', ...place], { stdio: 'pipe' })
    const out = gathered(child)
    // the profile is open before the words are read
    while (!existsSync(path.join(folder.of('profiles'), 'default', 'profile.db'))) await turn()
    child.kill('SIGINT')
    const [code] = await once(child, 'close')
    assert.equal(code, 130)
    assert.match(out.text, /"code":"interrupted"/)
  })
})

describe('at a terminal', { skip: hasTerminal ? false : 'needs script(1) of util-linux' }, () => {
  test('new words are shown once, and used when somebody says that they are written down', async () => {
    await using folder = await temporaryFolder('memory')
    await using server = await ServerProcess.start({ folder: folder.of('server') })
    const place = ['--data-dir', folder.of('profiles'), '--server', server.link]
    await using terminal = new Terminal(['register', 'alice', ...place])
    await terminal.until('press Enter')
    const shown = [...terminal.text.replace('These 24 words', '').matchAll(/ (\d+) ([a-z]+)/g)].sort(
      ([, a], [, b]) => Number(a) - Number(b),
    )
    assert.equal(shown.length, 24)
    assert.equal((await shell(folder, server.link)(['people', 'alice', '--profile', 'x'])).code, 4, 'not before')
    terminal.type('\r')
    assert.equal(await terminal.ended, 0)
    assert.match(terminal.text, /You are alice on 127\.0\.0\.1/)
    const kept = await readdir(path.join(folder.of('profiles'), 'default'))
    assert(!kept.includes('recovery-words.txt'))

    const words = shown.map(([, , word]) => word).join(' ')
    await using recovering = new Terminal(['recover', '--profile', 'new', ...place])
    await recovering.until('not shown')
    recovering.type(`${words}\r`)
    assert.equal(await recovering.ended, 0, recovering.text)
    assert.match(recovering.text, /You are alice .* again/)
  })

  for (const [command, prompt] of [
    [['register', 'alice'], 'press Enter'],
    [['recover'], 'not shown'],
  ] as const)
    for (const [key, what] of [
      ['\u0003', 'Ctrl-C'],
      ['\u0004', 'Ctrl-D'],
    ] as const)
      test(`${what} at the question of ${command[0]} ends it with 130, on a line of its own`, async () => {
        await using folder = await temporaryFolder('memory')
        const place = ['--data-dir', folder.of('profiles'), '--server', `messageu://127.0.0.1:1/#${'A'.repeat(43)}`]
        await using terminal = new Terminal([...command, ...place])
        await terminal.until(prompt)
        terminal.type(key)
        assert.equal(await terminal.ended, 130)
        assert.match(terminal.text, /\nerror: interrupted\r?\n/)
      })
})

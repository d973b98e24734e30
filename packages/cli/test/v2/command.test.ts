import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Name, nameFromText } from '@messageu/protocol/v2'
import { formatAddress, sendText } from '../../src/v2/client.ts'
import { actingIn } from '../acting.ts'
import { launcher } from '../launcher.ts'
import { startScript } from './fake-server.ts'
import { encrypt, encryptText, events, filesIn, idOf, messageu, World } from './world.ts'

/** The command line of one person in a world. */
function shell(world: World, who: string) {
  const place = ['--dir', join(world.folder, who), '--server', formatAddress(world.server.address)]
  return (args: readonly string[], input?: string | Buffer) => messageu(['v2', ...args, ...place], input)
}

test('a script registers, lists, asks, gives, sends and reads, and gets an event for each', async () => {
  await using world = await World.start()
  const [alice, bob] = [shell(world, 'alice'), shell(world, 'bob')]
  const [registered] = events(await alice(['register', 'alice', '--json']))
  assert.match(String(registered?.id), /^[0-9a-f]{32}$/)
  assert.deepEqual(registered, { v: 1, event: 'registered', name: 'alice', id: registered?.id })
  await bob(['register', 'bob b', '--json'])

  const [person, ...more] = events(await alice(['people', '--json']))
  assert.deepEqual(person, { v: 1, event: 'person', id: person?.id, name: 'bob b' })
  assert.deepEqual(more, [])

  const [key] = events(await alice(['key', 'bob b', '--json']))
  assert.equal(Buffer.from(String(key?.publicKey), 'base64').length, 160)
  assert.deepEqual([key?.event, key?.id, key?.who], ['key', person?.id, 'bob b'])

  const [asked] = events(await alice(['ask', 'bob b', '--json']))
  assert.deepEqual(asked, {
    v: 1,
    event: 'sent',
    to: person?.id,
    name: 'bob b',
    id: '1',
    kind: 'key-request',
    bytes: 0,
  })
  const [request] = events(await bob(['read', '--json']))
  const fromAlice = { v: 1, event: 'message', from: registered?.id, name: 'alice' }
  assert.deepEqual(request, { ...fromAlice, id: '1', content: { kind: 'key-request' } })
  await alice(['give', 'bob b', '--json'])
  await alice(['send', 'bob b', 'hello', 'world', '--json'])
  await writeFile(join(world.folder, 'file'), 'x'.repeat(33))
  const sending = events(await alice(['file', 'bob b', join(world.folder, 'file'), '--json']))
  assert.deepEqual(sending[0], { v: 1, event: 'progress', what: 'sending', done: 33, total: 33 })
  assert.equal(sending[1]?.bytes, 33)

  const save = join(world.folder, 'elsewhere')
  const read = events(await bob(['read', '--save', save, '--json']))
  assert.deepEqual(read, [
    { ...fromAlice, id: '2', content: { kind: 'key', change: 'first' } },
    { ...fromAlice, id: '3', content: { kind: 'text', text: 'hello world' } },
    { ...fromAlice, id: '4', content: { kind: 'file', path: join(save, 'alice-4.bin'), size: 33 } },
  ])
  assert.equal(await readFile(join(save, 'alice-4.bin'), 'utf8'), 'x'.repeat(33))
  const nothing = await bob(['read', '--json'])
  assert.deepEqual([nothing.code, nothing.out], [0, ''])
})

test('a person is told the same in lines', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  await sendText(alice, 'bob', 'one\ntwo')
  const id = Buffer.from(await idOf(alice)).toString('hex')
  const read = await shell(world, 'bob')(['read'])
  assert.equal(read.out, `text 2 from ${id} alice\n  one\n  two\n`)
  assert.equal((await shell(world, 'bob')(['people'])).out, `${id}  alice\n`)
  const sent = await shell(world, 'alice')(['send', 'bob', 'hi'])
  assert.equal(sent.out, 'sent: text 3 (2 bytes) to bob\n')
  const file = await shell(world, 'alice')(['file', 'bob', launcher])
  assert.match(file.err, /^sending 100 % of/)
  assert.ok((await idOf(bob)).length)
})

test('a text comes from the arguments, from a pipe, and from "-"; one line break at its end is the pipe\'s', async () => {
  await using world = await World.start()
  await world.pair()
  const alice = shell(world, 'alice')
  await alice(['send', 'bob', 'from', 'arguments'])
  await alice(['send', 'bob'], 'from a pipe\n')
  await alice(['send', 'bob', '-'], 'from\na dash\n\n')
  await messageu(['v2', 'send', '--dir', join(world.folder, 'alice'), 'bob', '--', '-x', '--json'])
  for (const nothing of [[], [''], ['-']]) {
    const none = await alice(['send', 'bob', ...nothing, '--json'], '')
    assert.deepEqual([none.code, events(none)[0]?.code], [2, 'usage'], nothing.join())
  }
  const texts = events(await shell(world, 'bob')(['read', '--json'])).map(
    ({ content }) => (content as { text: string }).text,
  )
  assert.deepEqual(texts, ['from arguments', 'from a pipe', 'from\na dash\n', '-x --json'])
})

for (const [what, input] of Object.entries({ 'no UTF-8': Buffer.from([0x66, 0xff]), 'a NUL': 'a\0b' }))
  test(`a text with ${what} is refused before anything is sent, with advice`, async () => {
    await using world = await World.start()
    await world.pair()
    const before = world.server.requests.length
    const ended = await shell(world, 'alice')(['send', 'bob', '--json'], input)
    assert.equal(ended.code, 2)
    assert.deepEqual(
      events(ended).map(({ event, code }) => ({ event, code })),
      [{ event: 'error', code: 'bad-text' }],
    )
    assert.equal(world.server.requests.length, before)
  })

test('every failure has its exit code, and with --json one line that a program can read', async () => {
  await using world = await World.start()
  await world.registered('alice')
  await world.registered('bob')
  const alice = shell(world, 'alice')
  const nowhere = ['--dir', join(world.folder, 'alice'), '--server', '127.0.0.1:1']
  const cases = [
    [1, 'already-registered', await alice(['register', 'alice', '--json'])],
    [1, 'refused', await shell(world, 'new')(['register', 'alice', '--json'])],
    [1, 'no-key', await alice(['send', 'bob', 'hi', '--json'])],
    [2, 'bad-name', await shell(world, 'new')(['register', 'x', '--json'])],
    [2, 'usage', await alice(['send', '--json'])],
    [2, 'usage', await alice(['nonsense', '--json'])],
    [2, 'usage', await alice(['people', '--wrong', '--json'])],
    [2, 'usage', await messageu(['v2', '--json'])],
    [2, 'bad-address', await messageu(['v2', 'people', '--server', 'nonsense', '--json'])],
    [2, 'no-server', await messageu(['v2', 'register', 'me', '--dir', join(world.folder, 'none'), '--json'])],
    [3, 'unreachable', await messageu(['v2', 'people', ...nowhere, '--json'])],
    [4, 'not-registered', await shell(world, 'stranger')(['people', '--json'])],
    [6, 'unknown-person', await alice(['ask', 'nobody', '--json'])],
    [6, 'no-such-file', await alice(['file', 'bob', '/nothing/there', '--json'])],
  ] as const
  for (const [code, word, ended] of cases) {
    const [event, ...more] = events(ended)
    assert.deepEqual([ended.code, event?.event, event?.code, more, ended.err], [code, 'error', word, [], ''])
    assert.match(String(event?.message), /.{10}/)
    assert.match(String(event?.try), /.{4}/)
  }
  const people = await shell(world, 'stranger')(['people'])
  assert.match(people.err, /^error: .+\n {2}why: .+\n {2}try: .+\n$/)
  assert.equal(people.out, '')
})

test('help and version end with 0, and no command at all is wrong usage', async () => {
  assert.equal((await messageu(['--help'])).code, 0)
  assert.match((await messageu(['v2', 'read', '--help'])).out, /--save/)
  assert.match((await messageu(['--version'])).out, /^\d+\.\d+\.\d+\n$/)
  assert.equal((await messageu([])).code, 2)
})

test('a message that does not open ends the read with 8, and the rest is shown', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  world.server.put(await idOf(bob), {
    sender: await idOf(alice),
    type: 'text',
    content: encryptText(Buffer.alloc(16), 'x'),
  })
  await sendText(alice, 'bob', 'good')
  const ended = await shell(world, 'bob')(['read', '--json'])
  assert.equal(ended.code, 8)
  assert.deepEqual(
    events(ended).map(({ event }) => event),
    ['unreadable', 'message'],
  )
  const { from, name, type, reason, kept } = events(ended)[0] ?? {}
  assert.deepEqual([String(from).length, name, type, reason, kept], [32, 'alice', 'text', 'bad-key', true])
})

test("server.info and me.info are the original's files, and registering writes both", async () => {
  await using world = await World.start()
  await shell(world, 'alice')(['register', 'alice'])
  const dir = join(world.folder, 'alice')
  assert.equal(await readFile(join(dir, 'server.info'), 'utf8'), `${formatAddress(world.server.address)}\n`)
  assert.match(await readFile(join(dir, 'me.info'), 'utf8'), /^alice\n[0-9A-F]{32}\n[A-Za-z0-9+/=]{1336}\n$/)
  const people = await messageu(['v2', 'people'], undefined, { cwd: dir })
  assert.equal(people.code, 0)
})

test('a private key that others can read is pointed out', async () => {
  await using world = await World.start()
  await world.registered('alice')
  await chmod(join(world.folder, 'alice', 'me.info'), 0o644)
  assert.match((await shell(world, 'alice')(['people'])).err, /me\.info.*chmod 600/)
})

const hostile = {
  name: 'eve\u001b[2J\u009b31m\u202egnp\u200b\rroot\b\u2028',
  text: 'hi\u001b]52;c;aGk=\u0007\r\nerror: fake\u009d\u202e\u2066\u{e0041}\u007f\ttab',
}

test('X01, X02: no command prints what a peer wrote in a form that acts on a terminal, and --json is exact', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const eve = world.server.register(nameFromText(hostile.name), (world.server.accounts[0] ?? assert.fail()).publicKey)
  const account = world.server.accounts[0] ?? assert.fail()
  account.name = nameFromText(hostile.name.slice(3)) as Name
  const [sender, to] = [await idOf(alice), await idOf(bob)]
  const fill = (): void => {
    world.server.put(to, { sender, type: 'text', content: encryptText(key, hostile.text) })
    world.server.put(to, { sender, type: 'file', content: encrypt(key, Buffer.from('x')) })
    world.server.put(to, { sender, type: 'text', content: Buffer.from('bad') })
    world.server.put(to, { sender: eve, type: 'key-request', content: new Uint8Array(0) })
    world.server.put(to, { sender: eve, type: 'text', content: encryptText(Buffer.alloc(16), 'unknown') })
  }
  const run = shell(world, 'bob')
  const everything: string[][] = [
    ['people'],
    ['read'],
    ['key', hostile.name],
    ['ask', hostile.name],
    ['give', hostile.name],
    ['send', hostile.name, 'hi'],
    ['file', hostile.name, launcher],
    ['ask', `${hostile.name}x`],
    ['register', hostile.name],
  ]
  for (const json of [[], ['--json']])
    for (const args of everything) {
      if (args[0] === 'read') fill()
      const ended = await run([...args, ...json])
      assert.deepEqual(actingIn(ended.out + ended.err), [], args.join(' '))
      assert.ok(ended.bytes.length > 0)
      if (json.length === 0) {
        assert.doesNotMatch(ended.out, /^error|^note/m)
        continue
      }
      if (args[0] === 'read')
        assert.ok(events(ended).some((event) => (event.content as { text?: string })?.text === hostile.text))
      if (args[0] === 'people') assert.equal(events(ended)[1]?.name, hostile.name)
    }
  for (const file of await filesIn(join(world.folder, 'bob', 'received'))) assert.deepEqual(actingIn(file), [])
})

test('a reader of our output that ends early ends us quietly, and nothing that it missed is lost', async () => {
  await using world = await World.start()
  const { alice } = await world.pair()
  for (let i = 0; i < 300; i++) await sendText(alice, 'bob', `${i} ${'x'.repeat(2000)}`)
  const bob = shell(world, 'bob')
  const place = ['--dir', join(world.folder, 'bob'), '--json']
  const child = spawn(process.execPath, [launcher, 'v2', 'read', ...place], { stdio: ['ignore', 'pipe', 'pipe'] })
  let early = ''
  child.stdout.on('data', (chunk) => {
    early += chunk
    child.stdout.destroy()
  })
  const complaints = Array.fromAsync(child.stderr)
  const [code, signal] = await once(child, 'close')
  assert.deepEqual([code, signal, Buffer.concat(await complaints).toString()], [0, null, ''])
  const numbers = (text: string): number[] => [...text.matchAll(/"text":"(\d+) /g)].map(([, number]) => Number(number))
  const [first, rest] = [numbers(early), numbers((await bob(['read', '--json'])).out)]
  assert.ok(first.length > 0 && rest.length > 0)
  assert.deepEqual(
    [...new Set([...first, ...rest])].sort((a, b) => a - b),
    Array.from({ length: 300 }, (_, i) => i),
  )
})

test('Ctrl-C while the server is silent ends with 130', async () => {
  await using world = await World.start()
  await world.registered('alice')
  const asked = Promise.withResolvers<void>()
  await using script = await startScript(() => asked.resolve())
  const args = [
    'v2',
    'people',
    '--dir',
    join(world.folder, 'alice'),
    '--server',
    formatAddress(script.address),
    '--json',
  ]
  const child = spawn(process.execPath, [launcher, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const lines = Array.fromAsync(child.stdout)
  await asked.promise
  child.kill('SIGINT')
  const [code] = await once(child, 'close')
  assert.equal(code, 130)
  assert.equal(JSON.parse(Buffer.concat(await lines).toString()).code, 'interrupted')
})

test("the menu has the original's numbers, shows failures and goes on, and ends with 0 or with its input", async () => {
  await using world = await World.start()
  await writeFile(join(world.folder, 'file'), 'content')
  const [alice, bob] = [shell(world, 'alice'), shell(world, 'bob')]
  const lines = (...given: string[]): string => `${given.join('\n')}\n`
  const first = await alice([], lines('1', 'alice of the hill', '1', 'again', '77', '0', '2'))
  assert.equal(first.code, 0)
  assert.match(first.out, /registered [0-9a-f]{32} as alice of the hill/)
  assert.match(first.out, /none of the numbers/)
  assert.match(first.err, /registered already/)
  for (const number of ['1', '2', '3', '4', '5', '50', '51', '52', '0'])
    assert.match(first.out, new RegExp(`^ *${number}  \\w`, 'm'))

  const ended = await bob([], '1\nbob\n2\n3\nalice of the hill\n51\nalice of the hill')
  assert.equal(ended.code, 0)
  assert.match(ended.out, /public key of/)
  assert.match(ended.out, /sent: key request 1/)
  const path = join(world.folder, 'file')
  const gives = await alice(
    [],
    lines('4', '52', 'bob', '5', 'bob', '  a text with blanks', '5', 'bob', '', '50', 'bob', path, '4'),
  )
  assert.match(gives.out, /key request 1 from [0-9a-f]{32} bob/)
  assert.match(gives.err, /nothing is waiting/)
  const reads = await bob([], '4\n')
  assert.match(reads.out, /\n {4}a text with blanks\n/)
  assert.match(reads.out, /saved 7 bytes as /)
  assert.equal(reads.code, 0)
})

test('the menu ends at the end of its input, without a loop', async () => {
  const ended = await messageu(['v2'], '')
  assert.equal(ended.code, 0)
  assert.ok(ended.out.length < 1000)
})

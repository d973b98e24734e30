import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encode } from '@messageu/protocol'
import { answerHeader, Delivered } from '@messageu/protocol/v2'
import * as v2 from '../../src/v2/client.ts'
import { aesKey, wrapKey } from '../../src/v2/crypto.ts'
import { startScript } from './fake-server.ts'
import { encrypt, encryptText, filesIn, idOf, read, saveFolder, summary, World } from './world.ts'

const crashReader = fileURLToPath(new URL('crash-reader.ts', import.meta.url))

/** What a reader that dies after `survivals` messages has printed. */
async function crashingRead(client: v2.Client, survivals: number): Promise<string[]> {
  const address = v2.formatAddress(client.server ?? assert.fail())
  const { promise, resolve } = Promise.withResolvers<string>()
  execFile(process.execPath, [crashReader, client.dir, address, String(survivals)], (_error, out) => resolve(out))
  return (await promise).split('\n').slice(0, -1)
}

async function waitFor(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.ok(condition())
}

test('I2: a message is shown once, however often the server hands it out, also after a restart', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  await v2.sendText(alice, 'bob', 'once')
  world.server.lies.repeats = true
  assert.deepEqual(summary(await read(bob)), ['once'])
  assert.deepEqual(summary(await read(v2.openClient({ ...bob }))), ['repeated'])
})

test('the same text sent twice is two messages', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  await v2.sendText(alice, 'bob', 'ok')
  await v2.sendText(alice, 'bob', 'ok')
  assert.deepEqual(summary(await read(bob)), ['ok', 'ok'])
})

/** How the server sees the end of the connection, and what lies in the inbox at that moment. */
async function endOfFetch(client: v2.Client, answer: Uint8Array): Promise<{ end: 'clean' | 'reset'; inbox: string[] }> {
  const { promise, resolve } = Promise.withResolvers<{ end: 'clean' | 'reset'; inbox: string[] }>()
  const seen = (end: 'clean' | 'reset') => () => resolve({ end, inbox: readdirSync(join(client.dir, 'inbox')) })
  await using script = await startScript((socket) => {
    socket
      .on('end', seen('clean'))
      .on('error', seen('reset'))
      .on('end', () => socket.end())
    socket.write(answer)
  })
  await read({ ...client, server: script.address }).catch(() => {})
  return promise
}

test('the server sees a clean end only when the messages are on our disk', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const content = encrypt(key, Buffer.alloc(2_000_000))
  const header = encode(Delivered, {
    sender: await idOf(alice),
    message: 9,
    type: 'file',
    contentBytes: content.length,
  })
  const payload = Buffer.concat([header, content])
  const { end, inbox } = await endOfFetch(bob, Buffer.concat([answerHeader('fetch', payload.length), payload]))
  assert.equal(end, 'clean')
  assert.ok(inbox.some((name) => name.endsWith('.spool')))
})

test('the server sees a reset when its answer came whole and could not be used', async () => {
  await using world = await World.start()
  const { bob } = await world.pair()
  const payload = Buffer.alloc(25, 5)
  const { end } = await endOfFetch(bob, Buffer.concat([answerHeader('fetch', payload.length), payload]))
  assert.equal(end, 'reset')
})

test('messages that were fetched and not shown come from our own disk', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  await v2.sendText(alice, 'bob', 'safe')
  const reading = v2.read(bob, { save: saveFolder(bob) })
  await reading.next()
  assert.equal(world.server.deliveries.at(-1), 'clean')
  await reading.return(undefined)
  assert.deepEqual(summary(await read(bob)), ['safe'])
})

for (const survivals of [0, 1, 2, 3])
  test(`I2: a reader that is killed after ${survivals} of 4 messages goes on there, and repeats and loses none`, async () => {
    await using world = await World.start()
    const { alice, bob } = await world.pair()
    const path = join(world.folder, 'file')
    await writeFile(path, 'content')
    await v2.sendText(alice, 'bob', 'one')
    await v2.sendFile(alice, 'bob', path)
    await v2.askForKey(alice, 'bob')
    await v2.sendText(alice, 'bob', 'four')
    const first = await crashingRead(bob, survivals)
    assert.equal(first.length, survivals)
    const second = await crashingRead(bob, 99)
    const kinds = [...first, ...second].map((line) => line.split(' ')[1])
    assert.deepEqual(kinds, ['text', 'file', 'key-request', 'text'])
    assert.deepEqual(await read(bob), [])
    assert.equal((await filesIn(saveFolder(bob))).length, 1)
    assert.deepEqual((await filesIn(join(bob.dir, 'inbox'))).sort(), ['lock'])
  })

test('an answer that was received whole by a process that then died is shown: the server has forgotten it', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const content = encryptText(key, 'saved')
  const header = encode(Delivered, {
    sender: await idOf(alice),
    message: 77,
    type: 'text',
    contentBytes: content.length,
  })
  const payload = Buffer.concat([header, content])
  const whole = Buffer.concat([answerHeader('fetch', payload.length), payload])
  await writeFile(join(bob.dir, 'inbox', 'aa.part'), whole)
  await writeFile(join(bob.dir, 'inbox', 'bb.part'), whole.subarray(0, -1))
  assert.deepEqual(summary(await read(bob)), ['saved'])
  assert.deepEqual(await filesIn(join(bob.dir, 'inbox')), ['lock'])
})

test('a fetch that is cut off shows nothing, keeps nothing, and is not taken for delivered', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const sender = await idOf(alice)
  const content = encryptText(key, 'half of it')
  const header = encode(Delivered, { sender, message: 5, type: 'text', contentBytes: content.length })
  const payload = Buffer.concat([header, content, header, content])
  const whole = Buffer.concat([answerHeader('fetch', payload.length), payload])
  await using script = await startScript((socket) => socket.end(whole.subarray(0, whole.length - 20)))
  const readings: v2.Reading[] = []
  await assert.rejects(
    async () => {
      for await (const reading of v2.read({ ...bob, server: script.address }, { save: saveFolder(bob) }))
        readings.push(reading)
    },
    { code: 'cut-off', exitCode: 3 },
  )
  assert.deepEqual(readings, [])
  assert.deepEqual(await filesIn(join(bob.dir, 'inbox')), ['lock'])
})

test('one message that does not open is reported, and the rest of the fetch is shown', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  const [to, sender] = [await idOf(bob), await idOf(alice)]
  await v2.sendText(alice, 'bob', 'first')
  world.server.put(to, { sender, type: 'text', content: Buffer.from('not a block') })
  world.server.put(to, { sender, type: 'text', content: new Uint8Array(0) })
  world.server.put(to, { sender, type: 'text', content: encryptText(Buffer.alloc(16, 9), 'wrong key') })
  world.server.put(to, { sender, type: 'key', content: Buffer.alloc(128, 1) })
  world.server.put(to, { sender, type: 'key', content: Buffer.alloc(5) })
  world.server.put(to, { sender, type: 'file', content: Buffer.alloc(17) })
  world.server.put(to, { sender, type: 'key-request', content: Buffer.alloc(4) })
  await v2.sendText(alice, 'bob', 'last')
  assert.deepEqual(summary(await read(bob)), [
    'first',
    'unreadable malformed',
    'unreadable malformed',
    'unreadable bad-key',
    'unreadable bad-key',
    'unreadable malformed',
    'unreadable malformed',
    'unreadable malformed',
    'last',
  ])
  assert.deepEqual(await read(bob), [])
})

test('a text that decrypts to something that is no text is not shown as one', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const latin1 = encrypt(key, Buffer.from('caf\u00e9\0', 'latin1'))
  world.server.put(await idOf(bob), { sender: await idOf(alice), type: 'text', content: latin1 })
  assert.deepEqual(summary(await read(bob)), ['unreadable bad-key'])
})

test('a text without the NUL at its end is read as well', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const content = encrypt(key, Buffer.from('no NUL'))
  world.server.put(await idOf(bob), { sender: await idOf(alice), type: 'text', content })
  assert.deepEqual(summary(await read(bob)), ['no NUL'])
})

test('messages that come before their key open when it comes, in the same fetch and in a later one', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  const bob = await world.registered('bob')
  const [to, sender] = [await idOf(bob), await idOf(alice)]
  const key = randomBytes(16)
  const wrapped = wrapKey(aesKey(key), (await v2.publicKey(alice, 'bob')).publicKey)
  const file = encrypt(key, Buffer.alloc(5000, 3))
  world.server.put(to, { sender, type: 'text', content: encryptText(key, 'early') })
  world.server.put(to, { sender, type: 'file', content: file })
  assert.deepEqual(summary(await read(bob)), ['unreadable no-key', 'unreadable no-key'])
  world.server.put(to, { sender, type: 'text', content: encryptText(key, 'still early') })
  world.server.put(to, { sender, type: 'key', content: wrapped })
  world.server.put(to, { sender, type: 'text', content: encryptText(key, 'in time') })
  const readings = await read(bob)
  assert.deepEqual(summary(readings), ['unreadable no-key', 'key', 'early', 'file', 'still early', 'in time'])
  assert.deepEqual(await filesIn(join(bob.dir, 'kept')), [])
  assert.deepEqual(await read(bob), [])
})

test('a reader that is killed between a key and what waited for it shows that in the next run', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  const bob = await world.registered('bob')
  const key = randomBytes(16)
  const [to, sender] = [await idOf(bob), await idOf(alice)]
  world.server.put(to, { sender, type: 'text', content: encryptText(key, 'early') })
  await read(bob)
  const wrapped = wrapKey(aesKey(key), (await v2.publicKey(alice, 'bob')).publicKey)
  world.server.put(to, { sender, type: 'key', content: wrapped })
  assert.equal((await crashingRead(bob, 1)).length, 1)
  assert.deepEqual(summary(await read(bob)), ['early'])
})

test('I9: what is kept for a later key is bounded per sender, and what does not fit is said', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  const bob = await world.registered('bob')
  for (let i = 0; i < 103; i++)
    world.server.put(await idOf(bob), { sender: await idOf(alice), type: 'text', content: randomBytes(16) })
  const kept = (await read(bob)).map((reading) => reading.kind === 'unreadable' && reading.kept)
  assert.deepEqual(
    kept,
    Array.from({ length: 103 }, (_, i) => i < 100),
  )
  assert.equal((await filesIn(join(bob.dir, 'kept'))).length, 100)
})

test('an unknown sender is looked up once, and shown by id if the server does not know a name', async () => {
  await using world = await World.start()
  const bob = await world.registered('bob')
  const stranger = Buffer.alloc(16, 0xab) as Uint8Array as v2.Identity['id']
  world.server.put(await idOf(bob), { sender: stranger, type: 'key-request', content: new Uint8Array(0) })
  world.server.put(await idOf(bob), { sender: stranger, type: 'key-request', content: new Uint8Array(0) })
  const readings = await read(bob)
  assert.deepEqual(
    readings.map(({ from }) => from.name),
    [undefined, undefined],
  )
  assert.equal(world.server.requests.filter(({ kind }) => kind === 'list').length, 1)
})

test('a text that is too long to show is saved as a file, without its NUL', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  for (const length of [8 * 2 ** 20 + 15, 9 * 2 ** 20]) {
    const content = encryptText(key, 'x'.repeat(length))
    world.server.put(await idOf(bob), { sender: await idOf(alice), type: 'text', content })
    const [reading] = await read(bob)
    assert.ok(reading?.kind === 'message' && reading.content.kind === 'file' && reading.content.text)
    assert.equal((await readFile(reading.content.path, 'latin1')) === 'x'.repeat(length), true)
  }
})

test('X03: a received file never takes the place of another, whatever is there', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const folder = saveFolder(bob)
  await mkdir(folder)
  const target = join(world.folder, 'target')
  await (await import('node:fs/promises')).symlink(target, join(folder, 'alice-50.bin'))
  await writeFile(join(folder, 'alice-50 (2).bin'), 'was here before')
  const message = {
    sender: await idOf(alice),
    type: 'file',
    content: encrypt(key, Buffer.from('new')),
    id: 50,
  } as const
  world.server.put(await idOf(bob), message)
  const [reading] = await read(bob)
  assert.ok(reading?.kind === 'message' && reading.content.kind === 'file')
  assert.equal(basename(reading.content.path), 'alice-50 (3).bin')
  assert.equal(await readFile(join(folder, 'alice-50 (2).bin'), 'utf8'), 'was here before')
  await assert.rejects(readFile(target), { code: 'ENOENT' })
})

test('X03: the name of a sender does not lead out of the folder', async () => {
  await using world = await World.start()
  const { bob } = await world.pair()
  const mallory = world.at('mallory')
  await v2.register(mallory, '../../../etc/evil‮gpj.exe')
  await v2.giveKey(mallory, 'bob')
  const path = join(world.folder, 'file')
  await writeFile(path, 'x')
  await v2.sendFile(mallory, 'bob', path)
  await read(bob)
  const [name = '', ...more] = await filesIn(saveFolder(bob))
  assert.deepEqual(more, [])
  assert.match(name, /^etc_evil_gpj\.exe-\d+\.bin$/)
})

test('X04: plaintext that a crash left in any folder is removed at the next start, and nothing else is', async () => {
  await using world = await World.start()
  const { bob } = await world.pair()
  const elsewhere = join(world.folder, 'elsewhere')
  await mkdir(elsewhere)
  const left = join(elsewhere, `.messageu-${'0'.repeat(32)}.part`)
  const foreign = join(elsewhere, 'letter.txt')
  await writeFile(left, 'plaintext')
  await writeFile(foreign, 'mine')
  for (const path of [left, foreign, join(elsewhere, 'gone')]) {
    await writeFile(join(bob.dir, 'inbox', 'part-file'), JSON.stringify(path))
    await read(bob)
  }
  assert.deepEqual(await filesIn(elsewhere), ['letter.txt'])
  assert.deepEqual(await filesIn(join(bob.dir, 'inbox')), ['lock'])
})

test('X04: temporary files have names that nobody can guess', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  world.server.put(await idOf(bob), {
    sender: await idOf(alice),
    type: 'file',
    content: encrypt(key, Buffer.alloc(3_000_000)),
  })
  const names = new Set<string>()
  const watcher = (await import('node:fs')).watch(bob.dir, { recursive: true }, (_event, name) => names.add(name ?? ''))
  await read(bob)
  await waitFor(() => [...names].some((name) => name.includes('.messageu-')))
  watcher.close()
  const temporary = [...names].filter((name) => name.endsWith('.part') || name.endsWith('.tmp'))
  assert.ok(temporary.length >= 2)
  for (const name of temporary) assert.match(name, /[0-9a-f]{32}/)
})

test('a disk without room for what waits leaves it on the server', async (t) => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const fs = await import('node:fs')
  world.server.put(await idOf(bob), {
    sender: await idOf(alice),
    type: 'file',
    content: encrypt(key, Buffer.alloc(2_000_000)),
  })
  t.mock.method(fs.default, 'statfsSync', () => ({ bavail: 1, bsize: 4096 }))
  ;(await import('node:module')).syncBuiltinESMExports()
  await assert.rejects(read(bob), { code: 'disk-full' })
  t.mock.restoreAll()
  ;(await import('node:module')).syncBuiltinESMExports()
  await waitFor(() => world.server.deliveries.at(-1) === 'broken')
  assert.deepEqual(summary(await read(bob)), ['file'])
})

test('what is cancelled while it is shown comes again', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  for (const text of ['one', 'two', 'three']) await v2.sendText(alice, 'bob', text)
  const controller = new AbortController()
  const seen: v2.Reading[] = []
  await assert.rejects(
    async () => {
      for await (const reading of v2.read({ ...bob, signal: controller.signal }, { save: saveFolder(bob) })) {
        seen.push(reading)
        controller.abort()
      }
    },
    { code: 'interrupted', exitCode: 130 },
  )
  assert.deepEqual(summary(seen), ['one'])
  assert.deepEqual(summary(await read(bob)), ['two', 'three'])
})

import assert from 'node:assert/strict'
import { truncateSync } from 'node:fs'
import { chmod, readFile, stat, symlink, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import * as v2 from '../../src/v2/client.ts'
import { encryptText, filesIn, idOf, read, saveFolder, summary, World } from './world.ts'

const permissions = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8)

test('two people exchange a key, texts and a file', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  const bob = await world.registered('bob')
  await v2.askForKey(bob, 'alice')
  assert.deepEqual(summary(await read(alice)), ['key-request'])
  await v2.giveKey(alice, 'bob')
  assert.deepEqual(summary(await read(bob)), ['key'])
  await v2.sendText(bob, 'alice', 'שלום\nline two')
  await v2.sendText(bob, 'alice', '')
  const path = join(world.folder, 'picture')
  await writeFile(path, Buffer.alloc(1_000_003, 7))
  await v2.sendFile(bob, 'alice', path)
  const readings = await read(alice)
  assert.deepEqual(summary(readings), ['שלום\nline two', '', 'file'])
  const last = readings.at(-1)
  assert.ok(last?.kind === 'message' && last.content.kind === 'file')
  assert.deepEqual(await readFile(last.content.path), Buffer.alloc(1_000_003, 7))
  assert.deepEqual(await read(alice), [])
})

test('what we keep is readable for us alone, and so is what we received', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  world.server.put(await idOf(bob), { sender: await idOf(alice), type: 'file', content: encryptText(key, 'x') })
  world.server.put(await idOf(bob), {
    sender: await idOf(alice),
    type: 'file',
    content: encryptText(Buffer.alloc(16), 'x'),
  })
  await read(bob)
  for (const file of ['me.info', 'me.state', 'server.info', 'me.lock', 'inbox/lock'])
    assert.equal(await permissions(join(bob.dir, file)), '600', file)
  for (const folder of ['', 'inbox', 'kept', 'received'])
    assert.equal(await permissions(join(bob.dir, folder)), '700', folder)
  for (const file of await filesIn(bob.dir)) assert.equal(await permissions(join(bob.dir, file)), '600', file)
})

test('AES keys survive a restart', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  const [aliceAgain, bobAgain] = [v2.openClient({ ...alice }), v2.openClient({ ...bob })]
  await v2.sendText(aliceAgain, 'bob', 'still here')
  assert.deepEqual(summary(await read(bobAgain)), ['still here'])
})

test('giving a key a second time gives the same one', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  await v2.giveKey(alice, 'bob')
  const [reading] = await read(bob)
  assert.ok(reading?.kind === 'message')
  assert.deepEqual(reading.content, { kind: 'key', change: 'same' })
})

test('a new key replaces the old one visibly, and the old one still opens what is under way', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  await v2.sendText(alice, 'bob', 'under the old key')
  await unlink(join(alice.dir, 'me.state'))
  await v2.giveKey(alice, 'bob')
  await v2.sendText(alice, 'bob', 'under the new key')
  const readings = await read(bob)
  assert.deepEqual(summary(readings), ['under the old key', 'key', 'under the new key'])
  assert.ok(readings[1]?.kind === 'message')
  assert.deepEqual(readings[1].content, { kind: 'key', change: 'changed' })
  await v2.sendText(alice, 'bob', 'again')
  assert.deepEqual(summary(await read(bob)), ['again'])
})

test('without a key nothing is sent, and the failure says how to get one', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  await world.registered('bob')
  await assert.rejects(v2.sendText(alice, 'bob', 'hi'), { code: 'no-key', advice: /give "bob".*ask "bob"/ })
  assert.equal(
    world.server.requests.some(({ kind }) => kind === 'send'),
    false,
  )
})

test('registering twice in one folder is refused before anything is sent', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  const before = world.server.requests.length
  await assert.rejects(v2.register(alice, 'alice2'), { code: 'already-registered' })
  assert.equal(world.server.requests.length, before)
})

test('a name that is taken is refused by the server, and the folder stays free', async () => {
  await using world = await World.start()
  await world.registered('alice')
  await assert.rejects(v2.register(world.at('other'), 'alice'), { code: 'refused' })
  assert.deepEqual(await filesIn(join(world.folder, 'other')), ['me.lock'])
  await v2.register(world.at('other'), 'alice b')
})

for (const name of ['', 'q', 'x'.repeat(255), 'two\nlines', 'a\u001b[31m', 'nul\0nul', 'half\ud800'])
  test(`${JSON.stringify(name.slice(0, 20))} is no name, and nothing is sent`, async () => {
    await using world = await World.start()
    await assert.rejects(v2.register(world.at('x'), name), { code: 'bad-name', exitCode: 2 })
    assert.equal(world.server.requests.length, 0)
  })

test('the longest name, in Hebrew and with a blank inside, is found by itself and by its id', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  const name = `דוד בן ${'z'.repeat(242)}`
  const other = world.at('other')
  await v2.register(other, name)
  assert.equal((await v2.askForKey(alice, name)).bytes, 0)
  assert.equal((await v2.askForKey(alice, v2.idText(await idOf(other)).toUpperCase())).bytes, 0)
  assert.deepEqual(summary(await read(other)), ['key-request', 'key-request'])
})

test('an unknown name is not found, with a guess; a name that is there twice needs the id', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  await world.registered('Robert')
  await assert.rejects(v2.askForKey(alice, 'robert'), { code: 'unknown-person', exitCode: 6, advice: /"Robert"/ })
  world.server.lies.acceptsDuplicates = true
  const twin = world.at('twin')
  await v2.register(twin, 'Robert')
  await v2.people(alice)
  await assert.rejects(v2.askForKey(alice, 'Robert'), { code: 'ambiguous-person', exitCode: 6 })
})

test('G05: another public key for a known person is refused, and the first one stays', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  const bob = await world.registered('bob')
  const { publicKey } = await v2.publicKey(alice, 'bob')
  world.server.lies.givesOtherKey = true
  await assert.rejects(v2.publicKey(alice, 'bob'), { code: 'public-key-changed', exitCode: 5 })
  await v2.giveKey(alice, 'bob')
  assert.deepEqual(summary(await read(bob)), ['key'])
  assert.deepEqual((await v2.findPerson(alice, 'bob')).publicKey, publicKey)
})

test('160 bytes that are no RSA key are refused, and no key is remembered', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  await world.registered('bob')
  const account = world.server.accounts[1]
  assert.ok(account !== undefined)
  account.publicKey.fill(0)
  await assert.rejects(v2.giveKey(alice, 'bob'), { code: 'bad-public-key' })
  await assert.rejects(v2.sendText(alice, 'bob', 'hi'), { code: 'no-key' })
})

test('a file that is not there, a folder, and a file that is too large are refused before anything is sent', async () => {
  await using world = await World.start()
  const { alice } = await world.pair()
  const big = join(world.folder, 'big')
  await writeFile(big, '')
  await (await import('node:fs/promises')).truncate(big, 2 ** 30 - 32)
  const before = world.server.requests.length
  await assert.rejects(v2.sendFile(alice, 'bob', join(world.folder, 'nothing')), { code: 'no-such-file', exitCode: 6 })
  await assert.rejects(v2.sendFile(alice, 'bob', world.folder), { code: 'not-a-file' })
  await assert.rejects(v2.sendFile(alice, 'bob', big), { code: 'too-large', exitCode: 7 })
  assert.equal(world.server.requests.length, before)
})

for (const [change, size] of [
  ['grows', 4_000_000],
  ['is rewritten', 3_000_000],
  ['shrinks', 10],
] as const)
  test(`a file that ${change} while it is sent is an error, and the server drops the part`, async () => {
    await using world = await World.start()
    const { alice, bob } = await world.pair()
    const path = join(world.folder, 'log')
    await writeFile(path, Buffer.alloc(3_000_000))
    const changing = v2.sendFile(alice, 'bob', path, () => {
      truncateSync(path, size)
    })
    await assert.rejects(changing, { code: 'file-changed' })
    assert.deepEqual(await read(bob), [])
  })

test('a damaged me.state stops us, names the file, keeps its secrets, and is left as it is', async () => {
  await using world = await World.start()
  const { alice } = await world.pair()
  const path = join(alice.dir, 'me.state')
  const good = await readFile(path, 'utf8')
  const damages = [
    '',
    '{',
    good.replace('"v":1', '"v":2'),
    good.replace('"keys":["', '"keys":["A'),
    good.replace('}', ',"__proto__":{}}'),
  ]
  for (const bytes of damages) {
    await writeFile(path, bytes)
    await assert.rejects(v2.sendText(alice, 'bob', 'x'), (error: Error & { code: string }) => {
      assert.equal(error.code, 'damaged')
      assert.match(error.message, /me\.state/)
      const key = /"keys":\["(?<key>[^"]+)/.exec(good)?.groups?.key
      assert.ok(key !== undefined && !error.message.includes(key))
      return true
    })
    assert.equal(await readFile(path, 'utf8'), bytes)
  }
})

test('the state of another client is refused', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  await writeFile(join(alice.dir, 'me.state'), await readFile(join(bob.dir, 'me.state')))
  await assert.rejects(v2.sendText(alice, 'bob', 'x'), { code: 'damaged', message: /belongs to the client/ })
})

test('K12: a link in the place of one of our files is refused', async () => {
  await using world = await World.start()
  const { alice } = await world.pair()
  for (const file of ['me.info', 'me.state']) {
    const path = join(alice.dir, file)
    const elsewhere = join(world.folder, `real ${file}`)
    const bytes = await readFile(path)
    await writeFile(elsewhere, bytes)
    await unlink(path)
    await symlink(elsewhere, path)
    await assert.rejects(v2.people(alice), { code: 'insecure-file', message: /symbolic link/ })
    await unlink(path)
    await writeFile(path, bytes, { mode: 0o600 })
  }
})

test('two commands at once in one folder lose no key', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  const names = ['bob', 'carol', 'dave', 'erin', 'frank']
  for (const name of names) await world.registered(name)
  await Promise.all(names.map((name) => v2.giveKey(alice, name)))
  await Promise.all(names.map((name) => v2.sendText(alice, name, 'hello')))
})

test('a second reader in one folder is turned away', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  await v2.sendText(alice, 'bob', 'one')
  for await (const reading of v2.read(bob, { save: saveFolder(bob) })) {
    assert.equal(reading.kind, 'message')
    await assert.rejects(read(bob), { code: 'in-use' })
  }
  assert.deepEqual(await read(bob), [])
})

test('a me.info that others can read is used, and known to be exposed', async () => {
  await using world = await World.start()
  const alice = await world.registered('alice')
  assert.equal((await v2.whoAmI(alice)).exposed, false)
  await chmod(join(alice.dir, 'me.info'), 0o644)
  assert.equal((await v2.whoAmI(alice)).exposed, true)
})

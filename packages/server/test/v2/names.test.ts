import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { Writable } from 'node:stream'
import { suite, test } from 'node:test'
import { pino } from 'pino'
import { v2Log } from '../../src/loglines.ts'
import { openMemory } from '../../src/storage/memory.ts'
import type { Client } from '../../src/storage.ts'
import { listenOn, registered, startV2, storages, temporaryFolder } from '../world.ts'
import { HandClock } from './handclock.ts'
import {
  codes,
  eventually,
  exchange,
  fetchAll,
  fetchRequest,
  header,
  keyRequest,
  listRequest,
  Peer,
  quiet,
  reasonsOf,
  refusal,
  registerRequest,
  sendRequest,
  short,
  sleep,
  wrapped,
} from './peer.ts'

interface Entry {
  readonly id: string
  readonly name: string
}

/** The entries of a list, which has to be whole. */
function entriesIn(answer: Buffer): Entry[] {
  assert.equal(answer.toString('hex', 0, 3), '02e903')
  assert.equal(answer.readUInt32LE(3), answer.length - 7)
  assert.equal((answer.length - 7) % 271, 0)
  return Array.from({ length: (answer.length - 7) / 271 }, (_, i) => {
    const entry = answer.subarray(7 + i * 271, 7 + (i + 1) * 271)
    const field = entry.subarray(16)
    return { id: entry.toString('hex', 0, 16), name: field.toString('utf8', 0, field.indexOf(0)) }
  })
}

async function listed({ port }: { port: number }, asker: Client): Promise<Entry[]> {
  return entriesIn((await exchange(port, listRequest(asker))).answer)
}

/** The id that was handed out. */
async function newcomer({ port }: { port: number }, name: string): Promise<Buffer> {
  const { answer } = await exchange(port, registerRequest(name))
  assert.match(answer.toString('hex'), /^02e80310000000/)
  return answer.subarray(7)
}

const nasty = [
  '../../../../etc/passwd',
  '..\\..\\windows\\win.ini',
  '%2e%2e%2f%00',
  'CON',
  'NUL.txt',
  "'; DROP TABLE clients; --",
  '" OR 1=1 --',
  'two\nlines',
  'carriage\r\nreturn {"level":"error"}',
  '\u001b[31mred\u001b[0m\u0007',
  '\u202Eright to left',
  '__proto__',
  'constructor',
  '$(reboot) `id`',
  '-rf',
  '//',
  '漢'.repeat(84),
  'x'.repeat(254),
]

for (const [kind, open] of Object.entries(storages))
  test(`C14 names with paths, statements and line breaks are data, on ${kind}`, async () => {
    await using folder = await temporaryFolder()
    await using world = await startV2(await open(folder.path))
    const asker = await registered(world.storage, 'asker')
    const files = (await readdir(folder.path, { recursive: true })).toSorted()
    const ids: string[] = []
    for (const name of nasty) ids.push((await newcomer(world, name)).toString('hex'))
    const entries = await listed(world, asker)
    assert.deepEqual(
      entries,
      nasty.map((name, i) => ({ name, id: ids[i] })),
    )
    for (const name of nasty)
      assert.equal((await exchange(world.port, registerRequest(name))).answer.toString('hex'), refusal)
    assert.deepEqual(new Set(reasonsOf(world)), new Set(['name-taken']))
    assert.deepEqual((await readdir(folder.path, { recursive: true })).toSorted(), files)
  })

test('C14 I4 the log is one JSON line an event, and holds nothing that a client wrote', async () => {
  const lines: string[] = []
  const stream = new Writable({
    write(chunk, _, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const clock = new HandClock()
  const log = v2Log(pino({ level: 'trace' }, stream))
  const canary = 'CANARY-7f3a\n{"x":1}'
  const bytes = Buffer.from(canary)
  const id = Buffer.from('CANARY-7f3a-id16')
  assert.equal(id.length, 16)
  await using world = await startV2(openMemory(), { log, limits: short, nowMs: clock.nowMs })
  const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
  const requests = [
    registerRequest(canary, Buffer.alloc(160, canary)),
    registerRequest(canary, Buffer.alloc(160, canary)),
    registerRequest(Buffer.concat([bytes, Buffer.from([0xff])])),
    registerRequest(Buffer.alloc(255, canary), Buffer.alloc(160, canary)),
    header(id, codes.list, 0),
    keyRequest(alice.id, id),
    keyRequest(id, id),
    sendRequest({ from: alice.login, to: bob.id, content: bytes }),
    sendRequest({ from: alice.login, to: bob.id, content: bytes, type: 67 }),
    sendRequest({ from: alice.login, to: id, content: bytes }),
    sendRequest({ from: id, to: bob.id, content: bytes }),
    sendRequest({ from: alice.login, to: bob.id, content: bytes, contentBytes: 100 }),
    bytes,
    Buffer.alloc(100, canary),
    fetchRequest(bob),
  ]
  for (const request of requests) await clock.during(exchange(world.port, request))
  await quiet(world)
  assert.ok(lines.length >= 12, `${lines.length} lines`)
  const forms = [bytes, id].flatMap((each) =>
    [each, each.subarray(0, 11)].flatMap((part) => [
      part.toString('latin1'),
      part.toString('hex'),
      part.toString('base64').replace(/=+$/, '').slice(0, -1),
      [...part].join(','),
      JSON.stringify(part.toString('latin1')).slice(1, -1),
      Buffer.from(part.toString('latin1'), 'utf16le').toString('latin1'),
    ]),
  )
  for (const line of lines) {
    assert.equal(line.split('\n').length, 2, 'one line')
    const entry = JSON.parse(line) as Record<string, unknown>
    assert.ok(entry.event === 'v2-refused' || entry.event === 'v2-fetched')
    for (const form of forms) assert.equal(line.toUpperCase().includes(form.toUpperCase()), false, `${form} in ${line}`)
  }
})

suite('the list', () => {
  test('of more than a thousand reaches a slow reader whole, in the order of registration, without the asker', async () => {
    await using world = await startV2(openMemory())
    const clients: Client[] = []
    for (let i = 0; i < 30_000; i++) clients.push(await registered(world.storage, `client ${i}`))
    const asker = clients[1500] as Client
    using peer = await Peer.dial(world.port)
    peer.write(listRequest(asker))
    for (let i = 0; i < 10; i++) {
      peer.socket.pause()
      await sleep(15)
      peer.socket.resume()
      await sleep(2)
    }
    const { answer, clean } = await peer.finish()
    assert.equal(clean, true)
    const expected = clients.filter((client) => client !== asker).map((_, i) => `client ${i < 1500 ? i : i + 1}`)
    assert.deepEqual(
      entriesIn(answer).map(({ name }) => name),
      expected,
    )
  })

  test('W06 that nobody reads is given up, and so is one whose reader leaves', async () => {
    await using world = await startV2(openMemory(), { limits: { writeSilenceMs: 100, settleMs: 20 } })
    for (let i = 0; i < 60_000; i++) await registered(world.storage, `client ${i}`)
    const asker = await registered(world.storage, 'asker')
    for (const leave of [false, true]) {
      using peer = await Peer.dial(world.port)
      peer.socket.pause()
      peer.write(listRequest(asker))
      await sleep(20)
      if (leave) peer.socket.resetAndDestroy()
      await quiet(world)
    }
    await using patient = await listenOn(world.storage)
    assert.equal((await listed(patient, asker)).length, 60_000)
  })

  test('never shows a registration that is not committed, and its id is nobody until then', async () => {
    const memory = openMemory()
    const committing = Promise.withResolvers<void>()
    const storage = wrapped(memory, {
      takeClient(registration, told) {
        void committing.promise.then(() => memory.takeClient(registration, told))
      },
    })
    const handedOut: Uint8Array[] = []
    await using world = await startV2(storage, {
      newClientId() {
        const id = Buffer.alloc(16, 0x77) as Uint8Array as Client['id']
        handedOut.push(id)
        return id
      },
    })
    const asker = await registered(memory, 'asker')
    using peer = await Peer.dial(world.port)
    peer.write(registerRequest('late'))
    await eventually('an id was taken', () => handedOut.length === 1)
    assert.deepEqual(await listed(world, asker), [])
    const early = header(handedOut[0] as Uint8Array, codes.list, 0)
    assert.equal((await exchange(world.port, early)).answer.toString('hex'), refusal)
    assert.equal(peer.got, 0)
    committing.resolve()
    assert.equal((await peer.finish()).answer.length, 23)
    assert.deepEqual(
      (await listed(world, asker)).map(({ name }) => name),
      ['late'],
    )
  })
})

for (const [kind, open] of Object.entries(storages))
  test(`of forty that register one name at once exactly one gets it, on ${kind}`, async () => {
    await using folder = await temporaryFolder()
    await using world = await startV2(await open(folder.path))
    const asker = await registered(world.storage, 'asker')
    const request = registerRequest('popular')
    const peers = await Promise.all(Array.from({ length: 40 }, () => Peer.dial(world.port)))
    for (const peer of peers) peer.write(request)
    const answers = await Promise.all(peers.map((peer) => peer.finish()))
    const winners = answers.filter(({ answer }) => answer.length === 23)
    assert.equal(winners.length, 1)
    assert.ok(
      answers.every(({ answer, clean }) => clean && (answer.length === 23 || answer.toString('hex') === refusal)),
    )
    assert.deepEqual(await listed(world, asker), [{ id: winners[0]?.answer.toString('hex', 7), name: 'popular' }])
  })

suite('G02 with private ids', () => {
  const world = () => startV2(openMemory(), { privateIds: true })

  test('the id handed out logs in, and the id in lists addresses but does not log in', async () => {
    await using at = await world()
    const login = await newcomer(at, 'alice')
    const other = await newcomer(at, 'bob')
    const [alice] = entriesIn((await exchange(at.port, header(other, codes.list, 0))).answer)
    assert.equal(alice?.name, 'alice')
    const published = Buffer.from(alice?.id as string, 'hex')
    assert.notDeepEqual(published, login)
    for (const request of [
      header(published, codes.list, 0),
      header(published, codes.fetch, 0),
      sendRequest({ from: published, to: published, content: Buffer.from('x') }),
    ])
      assert.equal((await exchange(at.port, request)).answer.toString('hex'), refusal)
    for (const to of [login, other])
      assert.equal((await exchange(at.port, sendRequest({ from: login, to }))).answer.toString('hex'), refusal)
    assert.equal((await exchange(at.port, keyRequest(login, other))).answer.toString('hex'), refusal)
  })

  test('messages and receipts carry published ids only, and a key may be asked for in the name of its owner', async () => {
    await using at = await world()
    const [alice, bob] = [await newcomer(at, 'alice'), await newcomer(at, 'bob')]
    const bobToAlice = entriesIn((await exchange(at.port, header(alice, codes.list, 0))).answer)[0] as Entry
    const aliceToBob = entriesIn((await exchange(at.port, header(bob, codes.list, 0))).answer)[0] as Entry
    const published = Buffer.from(bobToAlice.id, 'hex')
    const receipt = (await exchange(at.port, sendRequest({ from: alice, to: published }))).answer
    assert.equal(receipt.toString('hex', 7, 23), bobToAlice.id)
    const messages = await fetchAll(at, { login: bob as Uint8Array } as Client)
    assert.deepEqual(
      messages.map(({ sender }) => sender),
      [aliceToBob.id],
    )
    assert.equal((await exchange(at.port, keyRequest(published, published))).answer.length, 183)
  })
})

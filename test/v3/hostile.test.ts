import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import { after, before, suite, test } from 'node:test'
import { deflateRawSync } from 'node:zlib'
import { newSeed, signingKey } from '@messageu/e2ee'
import { decode, encode } from '@messageu/protocol'
import { limits, Nonce, operations, type Proof, parseLink, RefusedError, Send, writeFrame } from '@messageu/protocol/v3'
import { ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { randomFrom } from '../trouble.ts'
import { newConversation, newIdentity, Peer, random, reasonOf } from './peer.ts'
import { Stage } from './stage.ts'
import { message, opcodes, Rejected, Wire } from './wire.ts'

const seed = Number(process.env.HOSTILE_SEED ?? Date.now() % 2 ** 31)
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

let stage: Stage
before(async () => {
  stage = await Stage.start()
})
after(() => stage[Symbol.asyncDispose]())

suite('bytes', () => {
  test('W01: flipped, inserted, removed and spliced bytes are refused or end the session, and nobody else notices', async (t) => {
    t.diagnostic(`HOSTILE_SEED=${seed}`)
    const dice = randomFrom(seed)
    const any = (below: number): number => Math.floor(dice() * below)
    const mallory = await stage.person()
    const outcomes = new Map<string, number>()
    for (const _ of numbers(300)) {
      await mallory.reconnect()
      const { bytes } = mallory.frame('send', mallory.newSend(stage.conversation, random(60)))
      const cut = any(bytes.length)
      const mutations = [
        bytes.with(cut, any(256)),
        Buffer.concat([bytes.subarray(0, 9), random(any(300))]),
        Buffer.concat([bytes.subarray(0, cut), random(1), bytes.subarray(cut)]),
        Buffer.concat([bytes.subarray(0, cut), bytes.subarray(any(bytes.length))]),
        random(any(400)),
      ]
      const answered = Promise.withResolvers<string>()
      mallory.wire.onFrame(() => answered.resolve('answered'))
      mallory.wire.send(mutations[any(mutations.length)] ?? bytes)
      const ended = mallory.wire.closed.then((code) => `closed with ${code}`)
      const fate = await Promise.race([answered.promise, ended])
      outcomes.set(fate, (outcomes.get(fate) ?? 0) + 1)
      mallory.cut()
      await mallory.wire.closed
    }
    const allowed = ['answered', 'closed with 1002']
    assert.deepEqual(
      [...outcomes.keys()].filter((fate) => !allowed.includes(fate)),
      [],
    )
    assert((outcomes.get('closed with 1002') ?? 0) > 20, 'some of it was no frame any more')
    await stage.unharmed()
  })

  test('W02, W05: a request cut short at any byte, or with a byte behind it, is malformed and has no effect', async () => {
    const mallory = await stage.person()
    const conversation = await mallory.groupWith()
    const whole = encode(Send, mallory.newSend(conversation, random(20)))
    const bodies = [...numbers(whole.length).map((end) => whole.subarray(0, end)), Buffer.concat([whole, random(1)])]
    for (const [i, body] of bodies.entries()) {
      const request = 2 ** 20 + i
      const answer = mallory.answerTo(request)
      mallory.wire.send(writeFrame({ code: operations.send.code, request, body }))
      assert.equal(await reasonOf(answer), 'malformed', `${body.length} of ${whole.length} bytes`)
    }
    const { sequence } = await mallory.ask('read-state', { conversation })
    assert.equal(sequence, 1, 'there is the first commit and nothing else')
    await stage.unharmed()
  })

  for (const length of [0, 1, 8, 10, 2 ** 31, 2 ** 32 - 1, limits.frameBytesMax, limits.frameBytesMax + 1])
    test(`W03: a frame that claims ${length} bytes and has 9 ends the session`, async () => {
      const mallory = await stage.person()
      const frame = Buffer.alloc(9)
      frame.writeUInt32LE(length)
      frame[4] = operations['count-packages'].code
      frame[5] = 1
      mallory.wire.send(frame)
      assert.equal(await mallory.wire.closed, 1002)
      await stage.unharmed()
    })

  for (const claimed of [limits.frameBytesMax + 1, 2 ** 31, 2 ** 32, 2 ** 53])
    test(`W03: a message that announces ${claimed} bytes is refused before they come`, async () => {
      const wire = await Wire.open({ port: stage.port })
      wire.socket.write(message(new Uint8Array(0), { claimed }))
      assert.equal(await wire.closed, 1009)
      await stage.unharmed()
    })

  test('W03: lists and texts that claim more than there is are refused without being made room for', async () => {
    const mallory = await stage.person()
    for (const [i, claimed] of [0xffff, 0xffff_ffff, 0x8000_0000].entries()) {
      const body = Buffer.alloc(4)
      body.writeUInt32LE(claimed)
      const answer = mallory.answerTo(1000 + i)
      mallory.wire.send(writeFrame({ code: operations.publish.code, request: 1000 + i, body }))
      assert.equal(await reasonOf(answer), 'malformed')
    }
  })

  test('W05: text messages, reserved opcodes and bits, and unmasked frames end the session', async () => {
    const wrong: [Buffer, number][] = [
      [message(Buffer.from('hello'), { opcode: opcodes.text }), 1003],
      [message(Buffer.from([0xff, 0xfe]), { opcode: opcodes.text }), 1007],
      [message(random(3), { opcode: 3 }), 1002],
      [message(random(3), { first: 0xa0 }), 1002],
      [message(random(3), { opcode: opcodes.continuation }), 1002],
      [message(random(126), { opcode: opcodes.ping }), 1002],
      [Buffer.from([0x82, 0x01, 0x00]), 1002],
    ]
    for (const [bytes, code] of wrong) {
      const wire = await Wire.open({ port: stage.port })
      wire.socket.write(bytes)
      assert.equal(await wire.closed, code)
    }
    await stage.unharmed()
  })

  test('a request number that is 0 or still due ends the session, an unknown code is refused', async () => {
    const mallory = await stage.person()
    const unknown = mallory.answerTo(77)
    mallory.wire.send(writeFrame({ code: 0x7f, request: 77, body: random(5) }))
    assert.equal(await reasonOf(unknown), 'unknown-code')
    for (const code of [0x80, 0xc0, 0xff]) {
      const answer = mallory.answerTo(code)
      mallory.wire.send(writeFrame({ code, request: code, body: random(5) }))
      assert.equal(await reasonOf(answer), 'unknown-code', 'what only the server says is no request')
    }
    mallory.wire.send(writeFrame({ code: operations['count-packages'].code, request: 0, body: new Uint8Array(0) }))
    assert.equal(await mallory.wire.closed, 1002)
    await mallory.reconnect()
    const { bytes } = mallory.frame('count-packages', undefined) // which has to be read for: it is due for a while
    mallory.wire.send(bytes, bytes)
    assert.equal(await mallory.wire.closed, 1002)
  })
})

suite('WebSocket', () => {
  test('W07: compression is not agreed to, and a compressed message ends the session', async () => {
    const offer = 'permessage-deflate; client_max_window_bits'
    const wire = await Wire.open({ port: stage.port, headers: { 'sec-websocket-extensions': offer } })
    assert.doesNotMatch(wire.head, /extensions/i)
    wire.socket.write(message(deflateRawSync(Buffer.alloc(2 ** 24)), { first: 0xc0 }))
    assert.equal(await wire.closed, 1002)
    await stage.unharmed()
  })

  test('W09: without its subprotocol, with another one or at another path there is no version 3', async () => {
    const wrong = [
      { headers: { 'sec-websocket-protocol': undefined }, status: 400 },
      { headers: { 'sec-websocket-protocol': 'messageu.v4' }, status: 400 },
      { headers: { 'sec-websocket-protocol': 'messageu.v2' }, status: 400 },
      { headers: {}, path: '/v2', status: 404 },
      { headers: { origin: 'https://elsewhere.example' }, status: 403 },
      { headers: { host: 'elsewhere.example' }, status: 421 },
    ]
    for (const { status, ...options } of wrong)
      await assert.rejects(
        Wire.open({ port: stage.port, ...options }),
        (error) => error instanceof Rejected && error.status === status,
      )
    const offered = { 'sec-websocket-protocol': 'messageu.v4, messageu.v3' }
    const wire = await Wire.open({ port: stage.port, headers: offered })
    assert.match(wire.head, /sec-websocket-protocol: messageu\.v3$/im)
    wire.socket.destroy()
  })

  test('W09: a minor version that the server does not speak is refused, even where the rest of the proof holds', async () => {
    const mallory = await stage.person()
    await mallory.connect()
    const proof = await mallory.proof()
    const refused = mallory.ask('prove', { ...proof, minor: limits.minorMax + 1 })
    assert.equal(await reasonOf(refused), 'unsupported-version')
  })

  test('W09: an offer of the server that was changed on its way leads to no session', async () => {
    const mallory = await stage.person()
    for (const change of [{ minorMax: limits.minorMax + 1 }, { sealedBytesMax: limits.sealedBytesMax - 1 }]) {
      const hello = await mallory.connect()
      const refused = mallory.ask('prove', await mallory.proof({ hello: { ...hello, ...change } }))
      assert.equal(await reasonOf(refused), 'unproved')
    }
    await mallory.reconnect()
  })

  test('W08: pipelined requests, mixed and in one message, get each its own answer', async () => {
    const mallory = await stage.person()
    const conversations = await Promise.all(numbers(20).map(() => mallory.groupWith()))
    const asked = conversations.flatMap((conversation) => {
      const state = mallory.frame('read-state', { conversation })
      const send = mallory.frame('send', mallory.newSend(conversation, random(30)))
      const wrong = mallory.frame('read-state', { conversation: newConversation() })
      return [
        { ...state, outcome: 'done' },
        { ...send, outcome: 'done' },
        { ...wrong, outcome: 'not-permitted' },
      ]
    })
    const answers = asked.map(({ number }) => reasonOf(mallory.answerTo(number)))
    const bytes = message(Buffer.concat(asked.map((each) => each.bytes)))
    for (let at = 0; at < bytes.length; at += 997) mallory.wire.socket.write(bytes.subarray(at, at + 997))
    assert.deepEqual(
      await Promise.all(answers),
      asked.map(({ outcome }) => outcome),
    )
    for (const conversation of conversations)
      assert.equal((await mallory.ask('read-state', { conversation })).sequence, 2, 'its commit and its one message')
  })
})

suite('proofs', () => {
  test('C01: a proof with another key, host, nonce, device or server key in it is refused like an unknown device', async () => {
    const wrongKey = await signingKey(newSeed(random))
    const attempts: ((peer: Peer) => Promise<Proof>)[] = [
      (peer) => peer.proof({ requestKey: wrongKey }),
      (peer) => peer.proof({ host: 'elsewhere.example' }),
      (peer) => peer.proof({ device: stage.alice.device }),
      async (peer) => ({ ...(await peer.proof()), device: stage.alice.device }),
      async (peer) => ({ ...(await peer.proof()), nonce: decode(Nonce, random(32)) }),
      async (peer) => ({ ...(await peer.proof()), host: `localhost:${stage.port}` }),
      async (peer) => peer.proof({ device: (await newIdentity(stage.server.link, 'nobody')).secrets.device }),
    ]
    const mallory = await stage.person()
    const refusals = new Set<string>()
    for (const attempt of attempts) {
      await mallory.connect()
      const refused = await mallory.ask('prove', await attempt(mallory)).catch((error: unknown) => error)
      assert(refused instanceof RefusedError)
      refusals.add(`${refused.reason}: ${refused.message}`)
      assert.equal(await mallory.wire.closed, 1008)
    }
    assert.deepEqual([...refusals], ['unproved: the proof does not hold'], 'nobody learns which of it was wrong')
    await stage.unharmed()
  })

  test('C03: a proof is good for the connection whose hello it answers, and once', async () => {
    const mallory = await stage.person()
    await mallory.connect()
    const proof = await mallory.proof()
    await mallory.ask('prove', proof)
    assert.equal(await mallory.outcomeOf('prove', proof), 'not-permitted', 'a session is proved once')
    await mallory.connect()
    assert.equal(await mallory.outcomeOf('prove', proof), 'unproved', 'another connection has another nonce')

    using thief = new Peer(mallory.identity, stage.port)
    const heardByVictim = await mallory.connect()
    await thief.connect()
    const relayed = await thief.proof({ hello: heardByVictim })
    assert.equal(await thief.outcomeOf('prove', relayed), 'unproved', 'made for the hello of another connection')
  })

  test('before the proof a connection may ask a few things, and not for ever', async () => {
    const wire = new Peer(await newIdentity(stage.server.link, 'impatient'), stage.port)
    await wire.connect()
    const asked = numbers(40).map(() => wire.outcomeOf('read-list', { account: stage.alice.account, after: 0 }))
    const outcomes = await Promise.all(asked)
    assert.equal(outcomes.filter((outcome) => outcome === 'done').length <= 16, true)
    assert.equal(await wire.wire.closed, 1008)
  })
})

suite('what is said', () => {
  test('C08: of two names that look alike only the first is given, and no name hides characters', async () => {
    const twins = ['bob', 'BOB', 'b\u043eb', 'B\u03bfb', 'bo\u0062'.toUpperCase()]
    const hidden = ['b\u200bob', 'bob\u200d', '\u202ebob', 'bob\u2066', 'c\u0000arl', 'carl\n', ' carl', 'c', '../etc']
    const outcomeOf = (name: string): Promise<string> => reasonOf(Peer.register(stage.server.link, name))
    for (const name of twins) assert.match(await outcomeOf(name), /^(name-taken|bad-name)$/, name)
    for (const name of [...hidden, 'x'.repeat(65)])
      assert.equal(await outcomeOf(name), 'bad-name', JSON.stringify(name))
    assert.equal(await outcomeOf('bob'), 'name-taken')
  })

  test('C14, I4: names that look like paths, lines or SQL are data, and stand in no log and no name of a file', async () => {
    const names = ["robert'); drop table x", '{"event":"listening"}', 'canary-of-a-name', '..%2e%2fetc']
    const said = await Promise.allSettled(names.map((name) => Peer.register(stage.server.link, name)))
    const canary = said[2]
    assert(canary?.status === 'fulfilled', 'an ordinary name is given')
    using peer = canary.value
    await peer.groupWith()
    for (const line of stage.server.run.err.split('\n').filter((each) => each !== '')) JSON.parse(line)
    const files = (await readdir(stage.folder, { recursive: true })).join('\n')
    for (const name of names) {
      assert(!stage.server.run.err.includes(name) && !files.includes(name))
    }
    const { events } = stage.server.run
    assert.equal(events.filter(({ event }) => event === 'listening').length, 1)
    await stage.unharmed()
  })

  test('C05: what was not delivered cannot be acknowledged away, nor what is beyond the end', async () => {
    const mallory = await stage.person()
    const conversation = await stage.alice.groupWith(mallory)
    const { position } = await stage.alice.send(conversation, random(10))
    for (const through of [position, position + 1_000_000, Number.MAX_SAFE_INTEGER]) {
      const outcome = await mallory.outcomeOf('acknowledge', { through })
      assert.notEqual(outcome, 'done', `through ${through}`)
    }
    await mallory.credit()
    await mallory.until(() => mallory.heard(conversation).length === 1)
    assert.equal(await mallory.outcomeOf('acknowledge', { through: position }), 'done')
    assert.equal(await mallory.outcomeOf('acknowledge', { through: position }), 'done', 'again changes nothing')
    mallory.cut()
    assert.equal((await mallory.reconnect()).acknowledged, position)
  })

  test('C06: what one device of an account acknowledges, the other still gets', async () => {
    const mallory = await stage.person()
    const laptop = await mallory.sibling()
    await laptop.reconnect()
    const conversation = await mallory.groupWith()
    const { device } = laptop
    await mallory.ask('commit', mallory.newCommit(conversation, 1, [mallory.device, device]))
    await stage.alice.ask('judge', { account: mallory.account, verdict: 'accept' })
    await mallory.ask('judge', { account: stage.alice.account, verdict: 'accept' })
    const roster = [mallory.device, device, stage.alice.device]
    await mallory.ask('commit', mallory.newCommit(conversation, 2, roster))
    const text = random(12)
    const { position } = await stage.alice.send(conversation, text, 3)
    await mallory.credit()
    await mallory.until(() => mallory.heard(conversation).length === 1)
    await mallory.ask('acknowledge', { through: position })
    await laptop.credit()
    await laptop.until(() => laptop.heard(conversation).length === 1)
    assert.deepEqual(laptop.heard(conversation), [text])
  })
})

test('I4: the key of the server, its invites and the names of people stand in no log or metric', async () => {
  await using temporary = await temporaryFolder('memory')
  const folder = temporary.of('data')
  const flags = ['--registration', 'invite', '--metrics-port', '0', '--log-level', 'debug']
  await using server = await ServerProcess.start({ folder, flags })
  const listening = server.run.events.find(({ event }) => event === 'listening')
  const invite = parseLink(String(listening?.adminInvite)).invite
  assert(invite !== undefined)
  using peer = new Peer(await newIdentity(server.link, 'canary of a name'), server.http.port)
  await peer.connect()
  assert.equal(await peer.outcomeOf('register', peer.registration), 'bad-invite')
  await peer.ask('register', { ...peer.registration, invite })
  await peer.prove()
  await peer.groupWith()
  const { metrics } = listening as { metrics: { port: number } } // what serve prints
  const page = await (await fetch(`http://127.0.0.1:${metrics.port}/metrics`)).text()
  assert.match(page, /# TYPE/)
  peer.cut()
  assert.deepEqual(await server.end(), { code: 0, signal: null })
  const secrets = [await serverSeed(folder), invite, Buffer.from('canary of a name')]
  for (const place of [server.run.err, page])
    for (const secret of secrets)
      for (const form of formsOf(secret)) assert(!place.includes(form), 'a secret is where everybody can read it')
})

/** The server's private key: what stands in its database behind the head of a PKCS #8 key of Ed25519 (RFC 8410 §7). */
async function serverSeed(folder: string): Promise<Uint8Array> {
  const head = Buffer.from('302e020100300506032b657004220420', 'hex')
  const database = await readFile(path.join(folder, 'server.db'))
  const at = database.indexOf(head)
  assert(at >= 0, 'the database holds the key')
  return database.subarray(at + head.length, at + head.length + 32)
}

function formsOf(secret: Uint8Array): string[] {
  const bytes = Buffer.from(secret)
  const encodings = (['latin1', 'hex', 'base64', 'base64url'] as const).map((encoding) => bytes.toString(encoding))
  return [...encodings, [...bytes].join(','), [...bytes].join(', ')]
}

test('G08: a version 2 request on the port of version 3 gets HTTP, and an upgrade on the port of version 2 no WebSocket', async () => {
  const { address, http } = stage.server
  const v2 = connect(http.port, '127.0.0.1')
  v2.on('error', () => {})
  v2.write(Buffer.concat([random(16), Buffer.from([2, 0x4c, 0x04, 0, 0, 0, 0])]))
  const [answer] = (await once(v2, 'data')) as [Buffer]
  assert.match(answer.toString(), /^HTTP\/1\.1 400/)
  v2.destroy()
  await assert.rejects(Wire.open({ port: address.port }), (error) => error instanceof Rejected)
  await stage.unharmed()
})

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { encode } from '@messageu/protocol'
import { answerHeader, Delivered, Listing, nameFromText, PublicKeyOf, Receipt } from '@messageu/protocol/v2'
import fc from 'fast-check'
import { Failure } from '../../src/failure.ts'
import * as v2 from '../../src/v2/client.ts'
import { startRaw, startScript } from './fake-server.ts'
import { filesIn, idOf, read, World } from './world.ts'

/** Only where nothing else can come of it but that the server is given up. */
const hurry = { connectMs: 60_000, silenceMs: 150, closeMs: 100 }
const patience = { connectMs: 60_000, silenceMs: 60_000, closeMs: 100 }

/** Two people, one of them with a server that answers every request with these bytes and then ends, or does not. */
async function facing(t: TestContext, answer: (client: { me: Uint8Array; bob: Uint8Array }) => Uint8Array | 'silence') {
  const world = await World.start()
  t.after(() => world[Symbol.asyncDispose]())
  const { alice, bob } = await world.pair()
  const ids = { me: await idOf(alice), bob: await idOf(bob) }
  const script = await startScript((socket) => {
    const bytes = answer(ids)
    if (bytes !== 'silence') socket.end(bytes)
  })
  t.after(() => script[Symbol.asyncDispose]())
  return { ...alice, server: script.address, deadlines: patience }
}

const actions: Record<string, (client: v2.Client) => Promise<unknown>> = {
  register: (client) => v2.register({ ...client, dir: `${client.dir}-new` }, 'someone'),
  people: v2.people,
  key: (client) => v2.publicKey(client, 'bob'),
  send: (client) => v2.sendText(client, 'bob', 'hi'),
  fetch: read,
}

for (const [name, act] of Object.entries(actions)) {
  test(`a server that refuses ${name} is understood, with advice`, async (t) => {
    const client = await facing(t, () => Buffer.from('02282300000000', 'hex'))
    await assert.rejects(act(client), { code: 'refused', exitCode: 1, advice: /.{10}/ })
  })
  test(`W09: ${name} answered in another version is refused`, async (t) => {
    const client = await facing(t, () => Buffer.from('03e80300000000', 'hex'))
    await assert.rejects(act(client), { code: 'bad-answer', exitCode: 3 })
  })
  test(`S13: ${name} answered with something else is refused`, async (t) => {
    const client = await facing(t, () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'))
    await assert.rejects(act(client), { code: 'bad-answer' })
  })
  test(`W06: a server that is silent after ${name} is given up`, async (t) => {
    const client = await facing(t, () => 'silence')
    await assert.rejects(act({ ...client, deadlines: hurry }), { code: 'timeout', exitCode: 3 })
  })
  test(`a server that ends without an answer to ${name} is told apart`, async (t) => {
    const client = await facing(t, () => new Uint8Array(0))
    await assert.rejects(act(client), { code: 'cut-off', exitCode: 3 })
  })
}

const answers: Record<string, (ids: { me: Uint8Array; bob: Uint8Array }) => Uint8Array> = {
  register: ({ me }) => Buffer.concat([answerHeader('register', 16), me]),
  people: ({ bob }) => {
    const payload = encode(Listing, [{ client: bob as never, name: nameFromText('bob') }])
    return Buffer.concat([answerHeader('list', payload.length), payload])
  },
  key: ({ bob }) => {
    const payload = encode(PublicKeyOf, { client: bob as never, publicKey: new Uint8Array(160) as never })
    return Buffer.concat([answerHeader('key', payload.length), payload])
  },
  send: ({ bob }) =>
    Buffer.concat([answerHeader('send', 20), encode(Receipt, { recipient: bob as never, message: 9 })]),
  fetch: ({ bob }) => {
    const header = encode(Delivered, {
      sender: bob as never,
      message: 4_000_000_000,
      type: 'key-request',
      contentBytes: 0,
    })
    return Buffer.concat([answerHeader('fetch', 50), header, header])
  },
}

for (const [name, answer] of Object.entries(answers))
  test(`W02: the answer to ${name}, cut at every offset, has no effect`, { timeout: 60_000 }, async (t) => {
    let cut = 0
    const client = await facing(t, (ids) => answer(ids).subarray(0, cut))
    const act = actions[name] ?? assert.fail()
    const whole = answer({ me: new Uint8Array(16), bob: new Uint8Array(16) }).length
    const step = whole > 100 ? 3 : 1 // the inside of a name or a key is like its neighbours
    for (cut = 0; cut < whole; cut += step) {
      await assert.rejects(act(client), { code: 'cut-off' }, `cut at ${cut}`)
    }
    assert.deepEqual(
      (await filesIn(client.dir)).filter((file) => /part|spool/.test(file)),
      [],
    )
    assert.deepEqual(
      (await filesIn(`${client.dir}-new`).catch(() => [])).filter((file) => file !== 'me.lock'),
      [],
    )
  })

for (const [name, bytes] of [
  ['register', '02e803ffffffff'],
  ['people', '02e903ffffffff'],
  ['people', '02e90301000004'],
  ['people', '02e90301000000'],
  ['key', '02ea03ffffffff'],
  ['key', '02ea0300000000'],
  ['send', '02eb0313000000'],
  ['send', '02eb03ffffffff'],
] as const)
  test(`W03: ${name} with the announcement ${bytes.slice(6)} is refused before anything is allocated`, async (t) => {
    const client = await facing(t, () => Buffer.from(bytes + '00'.repeat(20), 'hex'))
    const before = process.memoryUsage().arrayBuffers
    await assert.rejects((actions[name] ?? assert.fail())(client), { code: 'bad-answer' })
    assert.ok(process.memoryUsage().arrayBuffers - before < 4 * 2 ** 20)
  })

test('S11: a fetch that announces 4 GiB and ends is given up, and its part is removed', async (t) => {
  const client = await facing(t, () => Buffer.from(`02ec03ffffffff${'00'.repeat(100)}`, 'hex'))
  await assert.rejects(read(client), { code: /cut-off|disk-full|bad-answer/ })
  assert.deepEqual(
    (await filesIn(client.dir)).filter((file) => /part|spool/.test(file)),
    [],
  )
})

test('S10: an answer that never ends is cut after what it announced', async (t) => {
  const world = await World.start()
  t.after(() => world[Symbol.asyncDispose]())
  const { alice } = await world.pair()
  let written = 0
  await using script = await startScript((socket) => {
    const flood = Buffer.alloc(65_536, 7)
    socket.write(answerHeader('list', 0))
    const more = (): void => {
      while (!socket.destroyed && socket.write(flood)) written += flood.length
    }
    socket.on('drain', more)
    more()
  })
  const client = { ...alice, server: script.address, deadlines: patience }
  assert.deepEqual(await v2.people(client), [])
  assert.ok(written > 0)
})

test('a send that is answered before the server can have it all is not taken for sent', async (t) => {
  const client = await facing(t, () => 'silence')
  const recipient = await v2.findPerson(client, 'bob')
  await using early = await startRaw((socket) => {
    const receipt = encode(Receipt, { recipient: recipient.id, message: 1 })
    socket.once('data', () => socket.end(Buffer.concat([answerHeader('send', 20), receipt])))
  })
  const path = join(client.dir, 'big')
  await writeFile(path, Buffer.alloc(50_000_000))
  await assert.rejects(v2.sendFile({ ...client, server: early.address }, 'bob', path), { code: 'bad-answer' })
})

test('a send that is refused while its content is on its way ends there', async (t) => {
  const client = await facing(t, () => 'silence')
  let received = 0
  await using refusing = await startRaw((socket) => {
    socket.on('data', (chunk) => {
      if (received === 0) socket.write(Buffer.from('02282300000000', 'hex'))
      received += chunk.length
    })
  })
  const path = join(client.dir, 'big')
  await writeFile(path, Buffer.alloc(100_000_000))
  await assert.rejects(v2.sendFile({ ...client, server: refusing.address }, 'bob', path), { code: 'refused' })
  assert.ok(received < 90_000_000)
})

test('W06: an answer that comes a byte at a time is given up', async (t) => {
  const client = await facing(t, () => 'silence')
  await using script = await startScript((socket) => {
    const bytes = answerHeader('list', 271 * 10)
    let sent = 0
    const timer = setInterval(
      () => socket.write(bytes.subarray(sent, ++sent).length > 0 ? bytes.subarray(sent - 1, sent) : 'x'),
      10,
    )
    socket.on('close', () => clearInterval(timer))
  })
  await assert.rejects(v2.people({ ...client, server: script.address, deadlines: hurry }), { code: 'timeout' })
})

for (const type of [0, 5, 255])
  test(`a fetch with messages of type ${type} is refused as a whole, and the server keeps it`, async (t) => {
    const message = Buffer.concat([Buffer.alloc(20, 1), Buffer.from([type]), Buffer.alloc(4)])
    const payload = Buffer.concat(Array.from({ length: 1000 }, () => message))
    const client = await facing(t, () => Buffer.concat([answerHeader('fetch', payload.length), payload]))
    await assert.rejects(read(client), { code: 'bad-answer' })
    assert.deepEqual(
      (await filesIn(client.dir)).filter((file) => /part|spool/.test(file)),
      [],
    )
  })

test('a key for somebody else than was asked for is refused', async (t) => {
  const other = encode(PublicKeyOf, { client: new Uint8Array(16) as never, publicKey: new Uint8Array(160) as never })
  const client = await facing(t, () => Buffer.concat([answerHeader('key', other.length), other]))
  await assert.rejects(v2.publicKey(client, 'bob'), { code: 'public-key-changed', exitCode: 5 })
})

test('nobody listening is a network failure that says so', async (t) => {
  const client = await facing(t, () => 'silence')
  const nobody = { ...client, server: { host: '127.0.0.1', port: 1 } }
  await assert.rejects(v2.people(nobody), { code: 'unreachable', exitCode: 3, why: /nobody listens/ })
})

test('a reset in the middle of an upload is a network failure', async (t) => {
  const world = await World.start()
  t.after(() => world[Symbol.asyncDispose]())
  const { alice } = await world.pair()
  await using script = await startScript((socket) => socket.resetAndDestroy())
  await assert.rejects(v2.sendText({ ...alice, server: script.address }, 'bob', 'x'.repeat(5_000_000)), { exitCode: 3 })
})

test('what is cancelled while the server is silent ends at once', async (t) => {
  const client = await facing(t, () => 'silence')
  const controller = new AbortController()
  setTimeout(() => controller.abort(), 20)
  await assert.rejects(v2.people({ ...client, signal: controller.signal }), { code: 'interrupted', exitCode: 130 })
})

test('W01, W10: changed bytes in any answer lead to a result or to a failure with a code, and to nothing else', {
  timeout: 60_000,
}, async (t) => {
  let bytes: Uint8Array = new Uint8Array(0)
  let ids: { me: Uint8Array; bob: Uint8Array } = { me: new Uint8Array(16), bob: new Uint8Array(16) }
  const client = await facing(t, (known) => {
    ids = known
    return bytes
  })
  await act(actions.people) // learns the ids
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(answers)),
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (name, flips, longer) => {
        const right = (answers[name] ?? assert.fail())(ids)
        const wrong = Buffer.concat([right, Buffer.alloc(longer ? 3 : 0)])
        for (const [at, xor] of flips) wrong.writeUInt8(wrong.readUInt8(at % wrong.length) ^ xor, at % wrong.length)
        bytes = wrong
        await act(actions[name])
      },
    ),
    { numRuns: 150 },
  )

  async function act(action: ((client: v2.Client) => Promise<unknown>) | undefined): Promise<void> {
    try {
      await action?.(client)
    } catch (error) {
      assert.ok(error instanceof Failure && error.code !== 'internal' && error.code !== 'damaged', String(error))
    }
  }
})

import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { openMemory } from '../../src/storage/memory.ts'
import type { Client } from '../../src/storage.ts'
import { newId, registered, startV2, storages, temporaryFolder, type V2World } from '../world.ts'
import { HandClock } from './handclock.ts'
import {
  codes,
  exchange,
  fetchRequest,
  header,
  keyRequest,
  listRequest,
  messagesIn,
  noId,
  Peer,
  quiet,
  reasonsOf,
  refusal,
  registerRequest,
  sendRequest,
  short,
} from './peer.ts'

/** The table in section 3 of the notes on the original server: the same replies, and never a reset. */

interface People {
  readonly alice: Client
  readonly bob: Client
}
interface Row {
  readonly input: string
  readonly request: (people: People) => Uint8Array
  readonly halfClose?: boolean
}
interface Refused extends Row {
  readonly reason: string
}
interface Served extends Row {
  readonly reply: RegExp
}

const four = Buffer.from('abcd')
const field = (fill: string | number, length = 255): Buffer => Buffer.alloc(length, fill)
const withKey = (nameField: Uint8Array): Buffer =>
  Buffer.concat([header(noId, codes.register, 415), nameField, field(7, 160)])
const invalidAfterNul = Buffer.concat([Buffer.from('carol\0'), Buffer.from([0xff])])

const refused: Refused[] = [
  ...[codes.list, codes.key, codes.send, codes.fetch].map((code) => ({
    input: `code ${code} in the name of nobody`,
    request: () => Buffer.concat([header(newId(), code, code === codes.key ? 16 : code === codes.send ? 21 : 0), noId]),
    reason: 'unknown-client',
  })),
  { input: 'a list with the id of zeros', request: () => header(noId, codes.list, 0), reason: 'unknown-client' },
  ...[0, 99, 105, 255].flatMap((code) => [
    { input: `code ${code}`, request: ({ alice }: People) => header(alice.id, code, 0), reason: 'unknown-code' },
    {
      input: `code ${code} with a payload`,
      request: ({ alice }: People) => Buffer.concat([header(alice.id, code, 4), four]),
      reason: 'unknown-code',
    },
  ]),
  ...[414, 416].map((bytes) => ({
    input: `register with ${bytes} bytes`,
    request: () => Buffer.concat([header(noId, codes.register, bytes), field('n', bytes)]),
    reason: 'malformed',
  })),
  {
    input: 'register, the header only',
    request: () => header(noId, codes.register, 415),
    halfClose: true,
    reason: 'malformed',
  },
  ...[codes.list, codes.fetch].map((code) => ({
    input: `code ${code} with a payload of 1`,
    request: ({ alice }: People) => Buffer.concat([header(alice.id, code, 1), field(0, 1)]),
    reason: 'malformed',
  })),
  ...[15, 17].map((bytes) => ({
    input: `key with ${bytes} bytes`,
    request: ({ alice }: People) => Buffer.concat([header(alice.id, codes.key, bytes), field(0, bytes)]),
    reason: 'malformed',
  })),
  {
    input: 'the key of nobody',
    request: ({ alice }) => keyRequest(alice.id, newId()),
    reason: 'unknown-recipient',
  },
  {
    input: 'send with 20 bytes',
    request: ({ alice }) => Buffer.concat([header(alice.id, codes.send, 20), field(0, 20)]),
    reason: 'malformed',
  },
  { input: 'a name of 1 character', request: () => registerRequest('x'), reason: 'malformed' },
  { input: 'an empty name', request: () => registerRequest(''), reason: 'malformed' },
  { input: 'a name of one character in 3 bytes', request: () => registerRequest('€'), reason: 'malformed' },
  { input: 'a name of 255 bytes without NUL', request: () => withKey(field('n')), reason: 'malformed' },
  {
    input: 'a name in invalid UTF-8',
    request: () => registerRequest(Buffer.from([0x61, 0xc3, 0x28])),
    reason: 'malformed',
  },
  { input: 'invalid UTF-8 behind the NUL', request: () => registerRequest(invalidAfterNul), reason: 'malformed' },
  { input: 'a taken name', request: () => registerRequest('alice'), reason: 'name-taken' },
  {
    input: 'a taken name with other bytes behind the NUL',
    request: () => registerRequest('alice\0xyz'),
    reason: 'name-taken',
  },
  ...[0, 5, 255].flatMap((type) =>
    [four, noId.subarray(0, 0)].map((content) => ({
      input: `type ${type} with ${content.length} bytes of content`,
      request: ({ alice, bob }: People) => sendRequest({ from: alice.id, to: bob.id, type, content }),
      reason: 'malformed',
    })),
  ),
  {
    input: 'a key request with content',
    request: ({ alice, bob }) => sendRequest({ from: alice.id, to: bob.id, type: 1, content: four }),
    reason: 'malformed',
  },
  ...[3, 4].map((type) => ({
    input: `type ${type} to nobody`,
    request: ({ alice }: People) => sendRequest({ from: alice.id, to: newId(), type, content: four }),
    reason: 'unknown-recipient',
  })),
  {
    input: 'a file of 4 MB to nobody',
    request: ({ alice }) => sendRequest({ from: alice.id, to: newId(), type: 4, content: Buffer.alloc(4_000_000, 1) }),
    reason: 'unknown-recipient',
  },
  ...[5, 3].map((contentBytes) => ({
    input: `a payload of 25 with a content of ${contentBytes}`,
    request: ({ alice, bob }: People) =>
      sendRequest({ from: alice.id, to: bob.id, content: four, contentBytes, payloadBytes: 25 }),
    reason: 'malformed',
  })),
  ...[2 ** 30 + 1, 2 ** 32 - 1].flatMap((bytes) =>
    Object.values(codes).map((code) => ({
      input: `code ${code} that announces ${bytes} bytes`,
      request: ({ alice }: People) => header(alice.id, code, bytes),
      reason: 'malformed',
    })),
  ),
  {
    input: 'a payload of 2^30 with a content of 2^30 + 1',
    request: ({ alice, bob }) =>
      sendRequest({ from: alice.id, to: bob.id, contentBytes: 2 ** 30 + 1, payloadBytes: 2 ** 30 }),
    reason: 'malformed',
  },
  { input: 'nothing at all, then the end', request: () => noId.subarray(0, 0), halfClose: true, reason: 'malformed' },
  { input: '10 bytes, then the end', request: () => field(1, 10), halfClose: true, reason: 'malformed' },
  ...[100, 100_000].map((contentBytes) => ({
    input: `a part of a content of ${contentBytes}, then the end`,
    request: ({ alice, bob }: People) =>
      sendRequest({ from: alice.id, to: bob.id, content: field(1, 60), contentBytes }),
    halfClose: true,
    reason: 'malformed',
  })),
]

const receipt = /^02eb0314000000[0-9a-f]{40}$/
const newcomer = /^02e80310000000[0-9a-f]{32}$/
const listing = /^02e903([0-9a-f]{2}){4}[0-9a-f]+$/
const nothingWaits = /^02ec0300000000$/

const served: Served[] = [
  ...[0, 1, 3, 255].map((version) => ({
    input: `version ${version}`,
    request: ({ alice }: People) => header(alice.id, codes.list, 0, version),
    reply: listing,
  })),
  {
    input: 'the key of oneself',
    request: ({ alice }) => keyRequest(alice.id, alice.id),
    reply: /^02ea03b0000000[0-9a-f]{352}$/,
  },
  {
    input: 'a key with the target in the header',
    request: ({ bob }) => keyRequest(bob.id, bob.id),
    reply: /^02ea03b0/,
  },
  ...['nn', 'n'.repeat(254), 'Zoë 漢字', 'trailing ', 'line\nbreak', 'ALICE', 'behind\0bytes'].map((name) => ({
    input: `the name ${JSON.stringify(name.slice(0, 12))} of ${Buffer.byteLength(name)} bytes`,
    request: () => registerRequest(name),
    reply: newcomer,
  })),
  {
    input: 'a public key of random bytes',
    request: () => registerRequest('random', field(0x5a, 160)),
    reply: newcomer,
  },
  { input: "another's public key", request: ({ bob }) => registerRequest('copy', bob.publicKey), reply: newcomer },
  {
    input: 'register with a known id',
    request: ({ bob }) => registerRequest('known', field(1, 160), bob.id),
    reply: newcomer,
  },
  ...[
    [1, 0],
    [2, 0],
    [2, 5],
    [3, 0],
    [3, 3],
    [4, 0],
    [4, 1],
  ].map(([type = 0, bytes = 0]) => ({
    input: `type ${type} with ${bytes} bytes of content`,
    request: ({ alice, bob }: People) => sendRequest({ from: alice.id, to: bob.id, type, content: field(9, bytes) }),
    reply: receipt,
  })),
  {
    input: 'a text to oneself',
    request: ({ bob }) => sendRequest({ from: bob.id, to: bob.id, content: four }),
    reply: receipt,
  },
  { input: 'a fetch on an empty mailbox', request: ({ alice }) => fetchRequest(alice), reply: nothingWaits },
  {
    input: 'two requests',
    request: ({ alice }) => Buffer.concat([fetchRequest(alice), listRequest(alice)]),
    reply: nothingWaits,
  },
  {
    input: 'one byte too many',
    request: ({ alice }) => Buffer.concat([listRequest(alice), field(1, 1)]),
    reply: listing,
  },
  { input: 'a list, then the end', request: ({ alice }) => listRequest(alice), halfClose: true, reply: listing },
  {
    input: 'a text, then the end',
    request: ({ alice, bob }) => sendRequest({ from: alice.id, to: bob.id, content: four }),
    halfClose: true,
    reply: receipt,
  },
]

for (const [kind, open] of Object.entries(storages))
  suite(`the edges of version 2 on ${kind}`, () => {
    let world: V2World
    let people: People
    let folder: Awaited<ReturnType<typeof temporaryFolder>>

    before(async () => {
      folder = await temporaryFolder()
      world = await startV2(await open(folder.path))
      people = { alice: await registered(world.storage, 'alice'), bob: await registered(world.storage, 'bob') }
    })
    after(async () => {
      await world[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    })

    for (const { input, request, halfClose = false, reason } of refused)
      test(`${input} is refused: the error arrives whole, nothing is stored, the log has one reason`, async () => {
        const before = world.storage.figures()
        world.log.length = 0
        const { answer, clean } = await exchange(world.port, request(people), { halfClose })
        assert.deepEqual({ answer: answer.toString('hex'), clean }, { answer: refusal, clean: true })
        await quiet(world)
        assert.deepEqual(world.storage.figures(), before)
        assert.deepEqual(reasonsOf(world), [reason])
      })

    for (const { input, request, halfClose = false, reply } of served)
      test(`${input} is served`, async () => {
        world.log.length = 0
        const { answer, clean } = await exchange(world.port, request(people), { halfClose })
        assert.match(answer.toString('hex'), reply)
        assert.equal(clean, true)
        await quiet(world)
        assert.deepEqual(reasonsOf(world), [])
      })

    test('a request that comes byte by byte is served', async () => {
      using peer = await Peer.dial(world.port)
      for (const byte of sendRequest({ from: people.alice.id, to: people.bob.id, content: four })) {
        peer.write(Uint8Array.of(byte))
        await new Promise((resolve) => setImmediate(resolve))
      }
      const { answer, clean } = await peer.finish()
      assert.match(answer.toString('hex'), receipt)
      assert.equal(clean, true)
    })

    test('a fetch brings sender, id, type, size and content of each message, oldest first', async () => {
      const { alice, bob } = people
      await exchange(world.port, fetchRequest(alice))
      for (const [type, text] of [
        [1, ''],
        [2, 'k'],
        [3, 'hello'],
        [4, ''],
      ] as const)
        await exchange(world.port, sendRequest({ from: bob.id, to: alice.id, type, content: Buffer.from(text) }))
      const messages = messagesIn((await exchange(world.port, fetchRequest(alice))).answer)
      const sender = Buffer.from(bob.id).toString('hex')
      assert.deepEqual(
        messages.map(({ id: _, ...message }) => ({ ...message, content: message.content.toString() })),
        [
          { sender, type: 1, content: '' },
          { sender, type: 2, content: 'k' },
          { sender, type: 3, content: 'hello' },
          { sender, type: 4, content: '' },
        ],
      )
      const ids = messages.map(({ id }) => id)
      assert.deepEqual(
        ids,
        ids.toSorted((a, b) => a - b),
      )
    })
  })

suite('a request that stops half way', () => {
  const starts: Record<string, (people: People) => Uint8Array> = {
    nothing: () => noId.subarray(0, 0),
    'half a header': () => noId.subarray(0, 10),
    'a header without its payload': () => header(noId, codes.register, 415),
    'half a text': ({ alice, bob }) => sendRequest({ from: alice.id, to: bob.id, content: four, contentBytes: 8 }),
    'half a file': ({ alice, bob }) => sendRequest({ from: alice.id, to: bob.id, content: four, contentBytes: 80_000 }),
  }
  for (const [input, start] of Object.entries(starts))
    test(`${input}, then silence: the error comes after the deadline, and not before`, async () => {
      const clock = new HandClock()
      await using world = await startV2(openMemory(), { limits: short, nowMs: clock.nowMs })
      const people = { alice: await registered(world.storage, 'alice'), bob: await registered(world.storage, 'bob') }
      using peer = await Peer.dial(world.port)
      peer.write(start(people))
      const waited = await clock.until('it is refused', () => peer.got > 0)
      assert.ok(waited >= short.silenceMs && waited < 250, `it took ${waited} ms`)
      const { answer, clean } = await peer.finish()
      assert.deepEqual({ answer: answer.toString('hex'), clean }, { answer: refusal, clean: true })
      assert.deepEqual(reasonsOf(world), ['timeout'])
      await quiet(world)
    })
})

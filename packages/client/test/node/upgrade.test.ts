import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { nodeTransport } from '../../src/node/transport.ts'
import { upgrade } from '../../src/node/upgrade.ts'
import { hearing, linkTo } from './channel-ends.ts'
import { type Caller, field, rawServer } from './raw-server.ts'

const never = new AbortController().signal

const open = (port: number, { events = hearing(), signal = never } = {}) =>
  nodeTransport().open(linkTo(port), events, { signal })

describe('the opening handshake', () => {
  test('says what RFC 6455 §4.1 asks for, with a key of its own each time', async () => {
    const keys = new Set<string>()
    for (let time = 0; time < 2; time += 1) {
      await using server = await rawServer(({ socket, agreement }) => socket.write(agreement()))
      const channel = await open(server.port)
      const { request, bytes } = await server.caller
      const key = field(request, 'sec-websocket-key') ?? ''
      assert.deepEqual(
        [...request].sort(),
        [
          'Connection: Upgrade',
          'GET /v3 HTTP/1.1',
          `Host: 127.0.0.1:${server.port}`,
          `Sec-WebSocket-Key: ${key}`,
          'Sec-WebSocket-Protocol: messageu.v3',
          'Sec-WebSocket-Version: 13',
          'Upgrade: websocket',
        ].sort(),
      )
      assert.equal(Buffer.from(key, 'base64').toString('base64'), key)
      assert.equal(Buffer.from(key, 'base64').length, 16)
      assert.equal(bytes().length, 0)
      keys.add(key)
      channel.close()
    }
    assert.equal(keys.size, 2)
  })

  const agreeing: Readonly<Record<string, (caller: Caller) => void | Promise<void>>> = {
    'byte by byte': async ({ socket, agreement }) => {
      for (const byte of Buffer.concat([Buffer.from(agreement()), greeting])) {
        socket.write(Uint8Array.of(byte))
        await nextTurn()
      }
    },
    'in one packet with the first frame': ({ socket, agreement }) =>
      void socket.write(Buffer.concat([Buffer.from(agreement()), greeting])),
    'behind answers that only announce it': ({ socket, agreement }) =>
      void socket.write(
        Buffer.concat([
          Buffer.from(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${agreement()}`),
          greeting,
        ]),
      ),
    'in other letters, among other fields': ({ socket, agreement }) => {
      const unusual = { Upgrade: ' \tWebSocket \t', Connection: 'keep-alive , UPGRADE', Server: 'a: b', Empty: '' }
      socket.write(
        Buffer.concat([Buffer.from(agreement(unusual).replace('Sec-WebSocket-A', 'sec-websocket-a')), greeting]),
      )
    },
    'with as much in front of it as may be': ({ socket, agreement }) => {
      const filler = 'x'.repeat(16 * 1024 - agreement({ Filler: '' }).length)
      socket.write(Buffer.concat([Buffer.from(agreement({ Filler: filler })), greeting]))
    },
  }
  for (const [how, answer] of Object.entries(agreeing))
    test(`S13: takes an answer ${how}, and what comes behind it`, async () => {
      await using server = await rawServer((caller) => void answer(caller))
      const greeted = Promise.withResolvers<Uint8Array>()
      const channel = await open(server.port, { events: { ...hearing(), message: greeted.resolve } })
      assert.deepEqual(await greeted.promise, Uint8Array.of(1, 2, 3))
      channel.close()
      await (await server.caller).gone
    })

  const refused: Readonly<Record<string, [why: RegExp, answer: (caller: Caller) => void]>> = {
    'another protocol': [/not HTTP/, ({ socket }) => socket.write('SSH-2.0-OpenSSH_9.9\r\n\r\n')],
    'a head one byte too long': [
      /no end/,
      ({ socket, agreement }) => {
        const filler = 'x'.repeat(16 * 1024 + 1 - agreement({ Filler: '' }).length)
        socket.write(agreement({ Filler: filler }))
      },
    ],
    'a head that never ends': [
      /no end/,
      ({ socket }) => {
        const more = (): unknown =>
          socket.destroyed || socket.write('x-filler: more of it\r\n', () => setImmediate(more))
        socket.write('HTTP/1.1 101 Switching Protocols\r\n', more)
      },
    ],
    'announcements that never end': [
      /no end/,
      ({ socket }) => {
        const more = (): unknown =>
          socket.destroyed || socket.write('HTTP/1.1 102 Processing\r\n\r\n', () => setImmediate(more))
        more()
      },
    ],
    'a line that is no field': [/no field/, ({ socket, agreement }) => socket.write(agreement({ 'a b': 'c' }))],
    'a line that goes on': [/no field/, ({ socket, agreement }) => socket.write(agreement({ 'X-A': 'b\r\n c' }))],
    'lines that end by halves': [
      /no field/,
      ({ socket, agreement }) => socket.write(agreement({ 'X-A': 'b\nUpgrade: websocket', Upgrade: undefined })),
    ],
    'an answer without Upgrade': [
      /upgrades to/,
      ({ socket, agreement }) => socket.write(agreement({ Upgrade: undefined })),
    ],
    'an upgrade to something else': [
      /upgrades to/,
      ({ socket, agreement }) => socket.write(agreement({ Upgrade: 'h2c' })),
    ],
    'an answer without Connection': [
      /does not upgrade/,
      ({ socket, agreement }) => socket.write(agreement({ Connection: undefined })),
    ],
    'an answer that keeps the connection': [
      /does not upgrade/,
      ({ socket, agreement }) => socket.write(agreement({ Connection: 'keep-alive, no-upgrade' })),
    ],
    'the answer to another key': [
      /not to this/,
      ({ socket, agreement }) => socket.write(agreement({ 'Sec-WebSocket-Accept': 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' })),
    ],
    'an answer without the key': [
      /not to this/,
      ({ socket, agreement }) => socket.write(agreement({ 'Sec-WebSocket-Accept': undefined })),
    ],
    'two answers to the key, the right one last': [
      /not to this/,
      ({ socket, agreement }) =>
        socket.write(
          agreement().replace('Sec-WebSocket-Accept', 'Sec-WebSocket-Accept: other\r\nSec-WebSocket-Accept'),
        ),
    ],
    'two answers to the key, the right one first': [
      /not to this/,
      ({ socket, agreement }) => socket.write(agreement({ 'sec-websocket-accept': 'other' })),
    ],
    'another subprotocol': [
      /does not agree/,
      ({ socket, agreement }) => socket.write(agreement({ 'Sec-WebSocket-Protocol': 'messageu.v4' })),
    ],
    'no subprotocol': [
      /does not agree/,
      ({ socket, agreement }) => socket.write(agreement({ 'Sec-WebSocket-Protocol': undefined })),
    ],
    'two subprotocols': [
      /does not agree/,
      ({ socket, agreement }) => socket.write(agreement({ 'Sec-WebSocket-Protocol': 'messageu.v3, messageu.v3' })),
    ],
    'an extension that nobody asked for': [
      /extension/,
      ({ socket, agreement }) => socket.write(agreement({ 'Sec-WebSocket-Extensions': 'permessage-deflate' })),
    ],
    'an empty list of extensions': [
      /extension/,
      ({ socket, agreement }) => socket.write(agreement({ 'Sec-WebSocket-Extensions': '' })),
    ],
    'a page': [/status 200/, ({ socket }) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')],
    'a page, and then what was asked for': [
      /status 200/,
      ({ socket, agreement }) => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n${agreement()}`),
    ],
    'a refusal by an old proxy': [/status 401/, ({ socket }) => socket.write('HTTP/1.0 401 \r\n\r\n')],
    'an end before a byte': [/ended/, ({ socket }) => socket.end()],
    'an end within the head': [/ended/, ({ socket, agreement }) => socket.end(agreement().slice(0, -1))],
    'a reset': [/ECONNRESET/, ({ socket }) => socket.resetAndDestroy()],
  }
  for (const [what, [message, answer]] of Object.entries(refused))
    test(`S13: does not open for ${what}, and leaves no connection`, async () => {
      await using server = await rawServer(answer)
      const events = hearing()
      await assert.rejects(open(server.port, { events }), { reason: 'unreachable', retryAfterMs: 0, message })
      await (await server.caller).gone
      assert.deepEqual(events.messages, [])
    })

  for (const [said, retryAfterMs] of [
    ['7', 7_000],
    ['99999', 99_999_000],
    ['999999', 0],
    ['-1', 0],
    ['Fri, 31 Dec 1999 23:59:59 GMT', 0],
  ] as const)
    test(`S13: hears ${JSON.stringify(said)} as a wait of ${retryAfterMs} ms`, async () => {
      const answer = `HTTP/1.1 503 Busy\r\nRETRY-AFTER: ${said}\r\n\r\n`
      await using server = await rawServer(({ socket }) => socket.write(answer))
      await assert.rejects(open(server.port), { reason: 'unreachable', message: /503/, retryAfterMs })
      await (await server.caller).gone
    })

  test('loses nothing of what comes before somebody reads it', async () => {
    await using server = await rawServer(({ socket, agreement }) => socket.write(agreement()))
    const socket = connect({ host: '127.0.0.1', port: server.port })
    assert.equal((await upgrade(socket, linkTo(server.port), never)).length, 0)
    const { socket: theirs, gone } = await server.caller
    theirs.write(greeting)
    for (let turn = 0; turn < 100; turn += 1) await nextTurn()
    const read = once(socket, 'data')
    socket.resume()
    assert.deepEqual(await read, [greeting])
    socket.destroy()
    await gone
  })

  test('ends with the signal, however much of the answer has come, and leaves no connection', async () => {
    const controller = new AbortController()
    await using server = await rawServer(({ socket, agreement }) => {
      socket.write(agreement().slice(0, -1), () => setImmediate(() => controller.abort(new Error('enough'))))
    })
    await assert.rejects(open(server.port, { signal: controller.signal }), { message: 'enough' })
    await (await server.caller).gone
  })
})

/** A message of three bytes, as a server frames it. */
const greeting = Buffer.of(0x82, 3, 1, 2, 3)

import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync } from 'node:crypto'
import dns from 'node:dns'
import { once } from 'node:events'
import { createServer as createHttp, type IncomingMessage, type Server } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer as createTcp } from 'node:net'
import { networkInterfaces } from 'node:os'
import { describe, test } from 'node:test'
import type { SecureVersion } from 'node:tls'
import { decode } from '@messageu/protocol'
import { type Link, PublicKey } from '@messageu/protocol/v3'
import { type WebSocket, WebSocketServer } from 'ws'
import { type NodeTransportOptions, nodeTransport } from '../../src/node/transport.ts'
import { type ChannelEvents, socketPath, subprotocol, type Transport } from '../../src/transport.ts'
import { browserTransport } from '../../src/websocket.ts'
import { hearing, linkTo, server } from './channel-ends.ts'
import { authority, type Issued, issue } from './issue.ts'

const never = new AbortController().signal
const stranger = generateKeyPairSync('ed25519')

interface Listening extends AsyncDisposable {
  readonly port: number
  /** The requests for a WebSocket that arrived: nothing of the client's came before these. */
  readonly requests: IncomingMessage[]
  readonly sockets: WebSocket[]
}

interface ListenOptions {
  readonly tls?: Issued
  readonly maxVersion?: SecureVersion
  readonly minVersion?: SecureVersion
  readonly greet?: (socket: WebSocket) => void
  readonly address?: string
}

async function listen({
  tls,
  maxVersion,
  minVersion,
  greet,
  address = '127.0.0.1',
}: ListenOptions = {}): Promise<Listening> {
  const versions = {
    ...(maxVersion && { maxVersion }),
    ...(minVersion && { minVersion, ciphers: 'DEFAULT@SECLEVEL=0' }),
  }
  const http: Server = tls === undefined ? createHttp() : createHttps({ key: tls.key, cert: tls.cert, ...versions })
  const requests: IncomingMessage[] = []
  const sockets: WebSocket[] = []
  const webSockets = new WebSocketServer({ server: http, path: socketPath })
  http.on('upgrade', (request) => requests.push(request))
  webSockets.on('connection', (socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    greet?.(socket)
  })
  http.listen(0, address)
  await once(http, 'listening')
  return {
    port: (http.address() as AddressInfo).port, // of a TCP listener
    requests,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of webSockets.clients) socket.terminate()
      http.closeAllConnections()
      http.close()
    },
  }
}

/** An address of this machine under which others know it. */
const elsewhere = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .map(({ address, family, internal }) => ({ address, family: family === 'IPv4' ? 4 : 6, internal }))
  .find(({ family, internal }) => family === 4 && !internal)

type Found = (error: null, addresses: readonly unknown[]) => void

const open = (link: Link, options: NodeTransportOptions = {}, events: ChannelEvents = hearing(), signal = never) =>
  nodeTransport(options).open(link, events, { signal })

const tls: NodeTransportOptions = { security: 'tls' }

describe('a certificate that the key in the link has issued', () => {
  test('opens the channel, whatever it says about names, and its key is what a session is bound to', async () => {
    const issued = issue('another.name', server.privateKey)
    await using listening = await listen({ tls: issued })
    const channel = await open(linkTo(listening.port), tls)
    const spki = issued.publicKey.export({ type: 'spki', format: 'der' })
    assert.deepEqual(Buffer.from(channel.certificate ?? []), createHash('sha256').update(spki).digest())
    assert.equal(listening.requests[0]?.headers.host, `127.0.0.1:${listening.port}`)
    assert.equal(listening.requests[0]?.headers['sec-websocket-protocol'], subprotocol)
    channel.close()
  })

  for (const [what, dates] of Object.entries({
    expired: { from: Date.now() - 30 * 86_400_000, to: Date.now() - 3 * 86_400_000 },
    'not valid yet': { from: Date.now() + 3 * 86_400_000, to: Date.now() + 30 * 86_400_000 },
  }))
    test(`N08: is refused when it is ${what}, before a byte is sent`, async () => {
      await using listening = await listen({ tls: issue('127.0.0.1', server.privateKey, dates) })
      await assert.rejects(open(linkTo(listening.port), tls), { reason: 'untrusted-server', message: /holds from/ })
      assert.equal(listening.requests.length, 0)
    })

  test('S15: holds for a clock that is wrong by hours', async () => {
    const past = { from: Date.now() - 9 * 86_400_000, to: Date.now() - 3_600_000 }
    await using listening = await listen({ tls: issue('127.0.0.1', server.privateKey, past) })
    const channel = await open(linkTo(listening.port), tls)
    channel.close()
  })
})

describe('N08: nothing is sent to', () => {
  test('a server whose certificate somebody else has issued', async () => {
    await using listening = await listen({ tls: issue('127.0.0.1', stranger.privateKey) })
    await assert.rejects(open(linkTo(listening.port), tls), { reason: 'untrusted-server', message: /neither/ })
    assert.equal(listening.requests.length, 0)
  })

  test('a server with a certificate from an authority for another name', async () => {
    const { cert, issuer } = authority()
    await using listening = await listen({ tls: issue('other.example', issuer) })
    const opening = open(linkTo(listening.port), { ...tls, authorities: [cert] })
    await assert.rejects(opening, { reason: 'untrusted-server' })
    assert.equal(listening.requests.length, 0)
  })

  test('a server with an expired certificate from an authority', async () => {
    const { cert, issuer } = authority()
    const dates = { from: Date.now() - 9_000_000, to: Date.now() - 60_000 }
    await using listening = await listen({ tls: issue('127.0.0.1', issuer, dates) })
    const opening = open(linkTo(listening.port), { ...tls, authorities: [cert] })
    await assert.rejects(opening, { reason: 'untrusted-server' })
    assert.equal(listening.requests.length, 0)
  })

  test('a server that speaks nothing newer than TLS 1.1', async () => {
    const issued = issue('127.0.0.1', server.privateKey)
    await using listening = await listen({ tls: issued, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' })
    await assert.rejects(open(linkTo(listening.port), tls), { reason: 'unreachable' })
    assert.equal(listening.requests.length, 0)
  })

  test('a port that does not speak TLS', async () => {
    await using listening = await listen()
    await assert.rejects(open(linkTo(listening.port), tls), { reason: 'unreachable', message: /TLS/ })
    assert.equal(listening.requests.length, 0)
  })

  test('a link with bytes that are no key', async () => {
    await using listening = await listen({ tls: issue('127.0.0.1', server.privateKey) })
    const serverKey = decode(PublicKey, new Uint8Array(32).fill(0xff))
    await assert.rejects(open({ ...linkTo(listening.port), serverKey }, tls), { reason: 'untrusted-server' })
    assert.equal(listening.requests.length, 0)
  })
})

test('a certificate from an authority for the host opens the channel, and the session is bound to it', async () => {
  const { cert, issuer } = authority()
  await using listening = await listen({ tls: issue('127.0.0.1', issuer) })
  const channel = await open(linkTo(listening.port), { ...tls, authorities: [cert] })
  assert.equal(channel.certificate?.length, 32)
  channel.close()
})

for (const [name, transport] of Object.entries({ node: nodeTransport(), browser: browserTransport() }))
  describe(`the transport of ${name}`, () => {
    const dial = (link: Link, events: ChannelEvents = hearing(), signal = never, by: Transport = transport) =>
      by.open(link, events, { signal })

    test('carries messages both ways, from the first one on', async () => {
      await using listening = await listen({ greet: (socket) => socket.send(Uint8Array.of(1, 2, 3)) })
      const events = hearing()
      const channel = await dial(linkTo(listening.port), events)
      const [socket] = listening.sockets
      assert.ok(socket)
      const heard = once(socket, 'message')
      channel.send(Uint8Array.of(4, 5))
      assert.deepEqual(await heard, [Buffer.of(4, 5), true])
      socket.close()
      assert.equal((await events.end).reason, 'lost')
      assert.deepEqual(events.messages, [Uint8Array.of(1, 2, 3)])
      assert.equal(channel.certificate, undefined)
    })

    test('says when it is cut off, once', async () => {
      await using listening = await listen()
      const events = hearing()
      await dial(linkTo(listening.port), events)
      listening.sockets[0]?.terminate()
      assert.equal((await events.end).reason, 'lost')
    })

    test('S13: takes no text', async () => {
      await using listening = await listen({ greet: (socket) => socket.send('text') })
      const events = hearing()
      await dial(linkTo(listening.port), events)
      assert.equal((await events.end).reason, 'bad-answer')
      assert.deepEqual(events.messages, [])
    })

    test('says that nobody is there', async () => {
      const port = await freed(await listen())
      await assert.rejects(dial(linkTo(port)), { reason: 'unreachable' })
    })

    test('ends the attempt with the signal', async () => {
      await using silent = await mute()
      const controller = new AbortController()
      const attempt = dial(linkTo(silent.port), hearing(), controller.signal)
      attempt.catch(() => {})
      await silent.connected
      controller.abort(new Error('enough'))
      await assert.rejects(attempt, { message: 'enough' })
      await assert.rejects(dial(linkTo(silent.port), hearing(), controller.signal), { message: 'enough' })
    })
  })

describe('S13: the transport of node', () => {
  test('follows no redirect', async () => {
    await using elsewhere = await listen()
    await using answering = await replying(302, { location: `http://127.0.0.1:${elsewhere.port}${socketPath}` })
    await assert.rejects(open(linkTo(answering.port)), { reason: 'unreachable', message: /302/ })
    assert.equal(elsewhere.requests.length, 0)
  })

  test('tells how long a busy server wants to be left alone', async () => {
    await using answering = await replying(503, { 'retry-after': '7' })
    await assert.rejects(open(linkTo(answering.port)), { reason: 'unreachable', retryAfterMs: 7_000 })
  })

  test('takes no message above the limit', async () => {
    await using listening = await listen({ greet: (socket) => socket.send(new Uint8Array(6 * 2 ** 20 + 1)) })
    const events = hearing()
    await open(linkTo(listening.port), {}, events)
    assert.equal((await events.end).reason, 'bad-answer')
    assert.deepEqual(events.messages, [])
  })
})

describe('plain text', () => {
  test('never leaves this machine unless that is said', async () => {
    await using listening = await listen()
    await assert.rejects(open({ ...linkTo(listening.port), host: '0.0.0.0' }), { reason: 'unreachable' })
    assert.equal(listening.requests.length, 0)
    const channel = await open({ ...linkTo(listening.port), host: '0.0.0.0' }, { security: 'plain' })
    channel.close()
  })

  test("is not spoken with whoever a name leads to that is taken for this machine's", {
    skip: elsewhere === undefined && 'this machine has no address but its own',
  }, async (context) => {
    await using listening = await listen({ address: '0.0.0.0' })
    context.mock.method(dns, 'lookup', (_host: string, _options: unknown, found: Found) => found(null, [elsewhere]))
    const link = { ...linkTo(listening.port), host: 'localhost' }
    await assert.rejects(open(link), { reason: 'untrusted-server' })
    assert.equal(listening.requests.length, 0)
    const channel = await open(link, { security: 'plain' })
    channel.close()
  })
})

/** Accepts connections, and says nothing. */
async function mute() {
  const connected = Promise.withResolvers<void>()
  const tcp = createTcp((socket) => {
    socket.on('error', () => {})
    connected.resolve()
  })
  tcp.listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  return {
    port: (tcp.address() as AddressInfo).port, // of a TCP listener
    connected: connected.promise,
    async [Symbol.asyncDispose]() {
      tcp.close()
    },
  }
}

/** Answers every request with the same status. */
async function replying(status: number, headers: Record<string, string>) {
  const http = createHttp()
  http.on('upgrade', (_request, socket) => {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.end(`HTTP/1.1 ${status} Whatever\r\n${lines.join('')}content-length: 0\r\n\r\n`)
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return {
    port: (http.address() as AddressInfo).port, // of a TCP listener
    async [Symbol.asyncDispose]() {
      http.closeAllConnections()
      http.close()
    },
  }
}

/** A port where somebody listened, and nobody does any more. */
async function freed(listening: Listening): Promise<number> {
  await listening[Symbol.asyncDispose]()
  return listening.port
}

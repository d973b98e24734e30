import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AccountId, type Hash, limits, operations } from '@messageu/protocol/v3'
import { v3Limits } from '../../src/v3/limits.ts'
import { get, random, rejected, startListening, type World } from './listening.ts'

suite('over HTTP there is', () => {
  test('whether the process lives, and whether it can store', async () => {
    let canStore = true
    await using world = await startListening({ isReady: async () => canStore })
    const base = `http://127.0.0.1:${world.port}`
    assert.equal((await get(`${base}/healthz`)).status, 200)
    assert.equal((await get(`${base}/readyz?verbose`)).status, 200)
    canStore = false
    assert.equal((await get(`${base}/healthz`)).status, 200)
    const unready = await get(`${base}/readyz`)
    assert.equal(unready.status, 503)
    assert.equal(unready.headers.get('retry-after'), '5')
  })

  test('nothing else', async () => {
    await using world = await startListening()
    const base = `http://127.0.0.1:${world.port}`
    for (const path of ['/', '/v3', '/healthz/', '/metrics', '/..%2fhealthz', '/%00'])
      assert.equal((await get(base + path)).status, 404, path)
    assert.equal((await get(`${base}/healthz`, { method: 'POST', body: 'x'.repeat(100_000) })).status, 405)
  })
})

suite('a WebSocket', () => {
  const url = ({ port }: World, path = '/v3'): string => `ws://127.0.0.1:${port}${path}`

  test('is opened at one path only, with the subprotocol', async () => {
    await using world = await startListening()
    assert.equal((await rejected(url(world, '/v2'))).status, 404)
    assert.equal((await rejected(url(world), { protocols: [] })).status, 400)
    assert.equal((await rejected(url(world), { protocols: ['messageu.v2', 'chat'] })).status, 400)
    using peer = await world.connect()
    assert.equal(peer.socket.protocol, 'messageu.v3')
  })

  test('W07 is never compressed', async () => {
    await using world = await startListening()
    using peer = await world.connect({ perMessageDeflate: true })
    assert.equal(peer.socket.extensions, '')
  })

  test('X07 is not for pages of other sites', async () => {
    await using world = await startListening()
    const own = [`http://127.0.0.1:${world.port}`]
    const others = [
      'http://127.0.0.1',
      'http://127.0.0.1:1',
      `https://localhost:${world.port}`,
      'https://example.org',
      'null',
      '',
    ]
    for (const origin of others) assert.equal((await rejected(url(world), { headers: { origin } })).status, 403, origin)
    for (const origin of own) {
      using _peer = await world.connect({ headers: { origin } })
    }
  })

  test('X07 is not for a page whose name was pointed to this machine', async () => {
    await using world = await startListening()
    const host = `evil.example:${world.port}`
    const { status } = await rejected(url(world), { headers: { host, origin: `http://${host}` } })
    assert.equal(status, 421)
    for (const name of ['localhost', '127.0.0.1', '[::1]']) {
      using _peer = await world.connect({ headers: { host: `${name}:${world.port}` } })
    }
  })

  test('needs a Host', async () => {
    await using world = await startListening()
    for (const host of ['a b', 'x@127.0.0.1', '127.0.0.1:99999999', '..%00'])
      assert.notEqual((await rejected(url(world), { headers: { host } })).status, 101, host)
  })
})

/** Time for the listener to look at its deadlines some times, with a turn for what has arrived before each. */
async function looks(): Promise<void> {
  for (let look = 0; look < 8; look++) await sleep(10)
}

suite('who says nothing', () => {
  test('W06 instead of a proof is let go with a reason', async () => {
    await using world = await startListening()
    using peer = await world.connect()
    await peer.hello()
    world.pass(limits.proofMs)
    assert.deepEqual(await peer.closed, { code: 1008, why: 'timeout' })
  })

  test('is asked after a while, and stays if there is a sign', async () => {
    await using world = await startListening()
    using peer = await world.session(world.people.add())
    const pinged = once(peer.socket, 'ping')
    world.pass(limits.heartbeatMs)
    await pinged
    await looks() // and the pong
    world.pass(limits.heartbeatMs)
    await looks()
    assert.equal(peer.socket.readyState, peer.socket.OPEN)
    assert.equal(world.sessions.count, 1)
  })

  test('N02 and gives no sign when asked is gone after twice that time', async () => {
    await using world = await startListening()
    using peer = await world.session(world.people.add(), { autoPong: false })
    world.pass(limits.heartbeatMs)
    await once(peer.socket, 'ping')
    world.pass(limits.heartbeatMs)
    assert.deepEqual(await peer.closed, { code: 1008, why: 'timeout' })
    assert.equal(world.sessions.count, 0)
  })

  test('N03 but sends a long message slowly is there', async () => {
    await using world = await startListening()
    using peer = await world.session(world.people.add(), { autoPong: false })
    peer.socket.send(Buffer.alloc(10), { fin: false })
    for (let i = 0; i < 4; i++) {
      world.pass(limits.heartbeatMs)
      await looks()
      peer.socket.send(Buffer.alloc(10), { fin: false })
      await looks()
    }
    assert.equal(peer.socket.readyState, peer.socket.OPEN)
  })

  test('W06 to the end of a message is let go in the end', async () => {
    await using world = await startListening()
    using peer = await world.session(world.people.add(), { autoPong: false })
    let isOpen = true
    void peer.closed.then(() => {
      isOpen = false
    })
    for (let passed = 0; isOpen; passed += limits.heartbeatMs) {
      assert(passed < 2 * v3Limits.messageMs, 'it goes on for ever')
      peer.socket.send(Buffer.alloc(1), { fin: false })
      await looks()
      world.pass(limits.heartbeatMs)
    }
    assert.deepEqual(await peer.closed, { code: 1008, why: 'timeout' })
  })

  test('W06 to the end of a request is let go', async () => {
    await using world = await startListening({ limits: { headMs: 200, requestMs: 400 } })
    const socket = await dial(world.port)
    socket.write('GET /healthz HTTP/1.1\r\nHost: 127')
    assert.match(await everything(socket), /^HTTP\/1.1 408 /)
  })

  test('C15 and does not close when it should is closed', async () => {
    await using world = await startListening({ limits: { goodbyeMs: 100 } })
    const alice = world.people.add()
    using peer = await world.session(alice)
    peer.socket.pause() // does not see our close
    world.people.delist(alice)
    world.pass(100)
    while (world.listener.connections > 0) await sleep(1)
    assert.equal(world.sessions.count, 0)
  })
})

suite('over a limit on connections', () => {
  test('of one address there is an answer, until one goes', async () => {
    await using world = await startListening({ isLocal: () => false, limits: { connectionsPerAddressMax: 2 } })
    const host = { headers: { host: `127.0.0.1:${world.port}` } }
    using first = await world.connect(host)
    using _second = await world.connect(host)
    const url = `ws://127.0.0.1:${world.port}/v3`
    assert.deepEqual(await rejected(url), { status: 503, retryAfter: '5' })
    const { status, headers } = await get(`http://127.0.0.1:${world.port}/healthz`)
    assert.deepEqual([status, headers.get('retry-after')], [503, '5'])
    assert.equal(world.listener.figures.turnedAway, 2)
    first.socket.close()
    await first.closed
    while (world.listener.connections > 1) await sleep(1)
    using _again = await world.connect(host)
  })

  test('in all there is one, for this machine too', async () => {
    await using world = await startListening({ limits: { connectionsMax: 1 } })
    using _only = await world.connect()
    assert.equal((await rejected(`ws://127.0.0.1:${world.port}/v3`)).status, 503)
  })

  test('of one address there is none for this machine', async () => {
    await using world = await startListening({ limits: { connectionsPerAddressMax: 1 } })
    using _first = await world.connect()
    using _second = await world.connect()
  })
})

suite('behind a proxy', () => {
  const from = (address: string) => ({ headers: { host: 'chat.example', 'x-forwarded-for': `1.2.3.4, ${address}` } })

  test('the host that clients dial is theirs, on the port that needs no saying', async () => {
    await using world = await startListening({ isBehindProxy: true })
    using peer = await world.connect(from('203.0.113.7'))
    await peer.prove(world.people.add(), { host: 'chat.example' })
    using other = await world.connect({ headers: { host: 'chat.example:8443', origin: 'https://chat.example:8443' } })
    await other.prove(world.people.add(), { host: 'chat.example:8443' })
  })

  test("the proof names the proxy's certificate, or none", async () => {
    await using world = await startListening({ isBehindProxy: true })
    using peer = await world.connect(from('203.0.113.7'))
    const certificate = random(32) as Hash
    await peer.prove(world.people.add(), { host: 'chat.example', certificate })
  })

  test('connections and rates count for the address that the proxy has seen', async () => {
    await using world = await startListening({
      isBehindProxy: true,
      limits: { connectionsPerAddressMax: 1, strangerRate: { perSecond: 0.001, burst: 1 } },
      handlers: { 'read-list': () => ({ version: 0, entries: [] }) },
    })
    const request = { account: random(32) as AccountId, after: 0 }
    using peer = await world.connect(from('203.0.113.7'))
    await peer.ask('read-list', request)
    await assert.rejects(peer.ask('read-list', request), { reason: 'limited' })
    assert.equal((await rejected(`ws://127.0.0.1:${world.port}/v3`, from('203.0.113.7'))).status, 503)
    using other = await world.connect(from('203.0.113.8'))
    await other.ask('read-list', request)
  })
})

suite('a stop', () => {
  test('K09 tells sessions when to come back, answers what is under way, and takes nothing more', async () => {
    let done: (() => void) | undefined
    await using world = await startListening({
      handlers: {
        claim: () =>
          new Promise((resolve) => {
            done = () => resolve([])
          }),
      },
    })
    using peer = await world.session(world.people.add())
    using idle = await world.session(world.people.add())
    using stranger = await world.connect()
    const answer = peer.ask('claim', random(32) as AccountId)
    while (done === undefined) await sleep(1)
    const stopped = world.listener.stop(60_000)
    const notice = await peer.notice()
    assert(notice.kind === 'stopping' && notice.body.retryAfterMs >= v3Limits.comeBackMs / 2)
    assert.deepEqual(await idle.closed, { code: 1001, why: 'stopping' })
    assert.deepEqual(await stranger.closed, { code: 1001, why: 'stopping' })
    await assert.rejects(peer.ask('requests', undefined), { reason: 'stopping' })
    await assert.rejects(get(`http://127.0.0.1:${world.port}/healthz`))
    done()
    assert.deepEqual(await answer, [])
    assert.deepEqual(await peer.closed, { code: 1001, why: 'stopping' })
    await stopped
  })

  test('K09 turns away who was about to begin, and goes on stopping', async () => {
    await using world = await startListening({ handlers: { claim: () => new Promise(() => {}) } })
    using peer = await world.session(world.people.add()) // without anybody it would be over at once
    peer.send({ code: operations.claim.code, request: 1, body: random(32) })
    const socket = await dial(world.port)
    socket.write(`GET /v3 HTTP/1.1\r\nHost: 127.0.0.1:${world.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`)
    await get(`http://127.0.0.1:${world.port}/healthz`) // behind what was written before
    const stopped = world.listener.stop(2_000)
    socket.write('\r\n')
    const [answer] = (await once(socket, 'data')) as [Buffer]
    assert.match(answer.toString(), /^HTTP\/1\.1 503 /)
    world.listener.endAll()
    await stopped
  })

  test('K09 does not wait longer than its grace, for whatever reason somebody stays', async () => {
    await using world = await startListening({ handlers: { claim: () => new Promise(() => {}) } })
    using peer = await world.session(world.people.add())
    peer.send({ code: operations.claim.code, request: 1, body: random(32) })
    const socket = await dial(world.port)
    socket.on('error', () => {})
    socket.write('GET /healthz HTTP/1.1\r\n')
    await world.listener.stop(100)
    assert.equal(world.sessions.count, 0)
    assert.equal(world.detached.length, 1)
  })

  test('N05 does not send everybody back at the same time', async () => {
    await using world = await startListening()
    const peers = await Promise.all(Array.from({ length: 12 }, () => world.session(world.people.add())))
    const stopped = world.listener.stop(60_000)
    const notices = await Promise.all(peers.map((peer) => peer.notice()))
    const times = notices.map((notice) => (notice.kind === 'stopping' ? notice.body.retryAfterMs : 0))
    assert(new Set(times).size > 4, times.join())
    await stopped
  })
})

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  return socket
}

async function everything(socket: Socket): Promise<string> {
  const pieces: Buffer[] = []
  socket.on('data', (piece) => pieces.push(piece))
  await once(socket, 'close')
  return Buffer.concat(pieces).toString('latin1')
}

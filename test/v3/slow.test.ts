import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Peer, random, reasonOf } from './peer.ts'
import { residentBytesOf } from './resident.ts'
import { Stage } from './stage.ts'
import { message, Wire } from './wire.ts'

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

let stage: Stage
before(async () => {
  stage = await Stage.start()
})
after(() => stage[Symbol.asyncDispose]())

async function dialled(): Promise<Socket> {
  const socket = connect(stage.port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

test('W06: silent connections, unfinished heads and unfinished messages keep nobody from being served', async () => {
  const silent = await Promise.all(numbers(150).map(() => dialled()))
  const unfinished = await Promise.all(numbers(150).map(() => dialled()))
  for (const socket of unfinished) socket.write('GET /v3 HTTP/1.1\r\nHost: 127')
  const wires = await Promise.all(numbers(150).map(() => Wire.open({ port: stage.port })))
  for (const { socket } of wires) socket.write(message(new Uint8Array(10), { claimed: 2 ** 20 }))
  for (const _ of numbers(20)) {
    for (const socket of unfinished) socket.write('0')
    await stage.unharmed()
  }
  for (const socket of [...silent, ...unfinished, ...wires.map((wire) => wire.socket)]) socket.destroy()
  await stage.unharmed()
})

test('W06: who has not proved in time, or does not finish a head, is let go', async () => {
  const began = performance.now()
  const socket = await dialled()
  socket.write('GET /v3 HTTP/1.1\r\nHost: 127')
  socket.resume()
  const wire = await Wire.open({ port: stage.port })
  const [code] = await Promise.all([wire.closed, once(socket, 'close')])
  assert.equal(code, 1008)
  assert(performance.now() - began > 9_000, 'not before ten seconds')
  await stage.unharmed()
})

test('W06, C15: who never reads its answers is bounded, others are served, and nothing that waits is lost', async (t) => {
  const { alice } = stage
  using mallory = await stage.person()
  const conversation = await alice.groupWith(mallory)
  await mallory.credit()
  const before = await residentBytesOf(stage.server.pid)
  mallory.wire.socket.pause()
  const said = 200
  const sent = new Set<string>()
  for (const i of numbers(said)) {
    const sealed = random(100_000)
    sent.add(Buffer.from(sealed.subarray(0, 16)).toString('hex'))
    await alice.send(conversation, sealed)
    if (i % 50 === 0) await stage.unharmed()
  }
  flood(mallory, 5_000)
  await stage.unharmed()
  const grown = (await residentBytesOf(stage.server.pid)) - before
  t.diagnostic(`${grown >> 20} MiB`)
  assert(grown < 150 * 2 ** 20, 'what waits for one reader is bounded')
  mallory.cut()
  await mallory.wire.closed
  mallory.deliveries.length = 0

  await mallory.reconnect()
  const heard = new Set<string>()
  while (heard.size < said) {
    await mallory.credit()
    const last = (): number => mallory.deliveries.at(-1)?.position ?? 0
    await mallory.until(() => mallory.heard(conversation).length > 0)
    for (const sealed of mallory.heard(conversation)) {
      const head = Buffer.from(sealed.subarray(0, 16)).toString('hex')
      assert(!heard.has(head), 'once')
      heard.add(head)
    }
    const through = last()
    mallory.deliveries.length = 0
    await mallory.ask('acknowledge', { through })
  }
  assert.deepEqual(heard, sent)
})

/** Asks without reading what is answered. */
function flood(peer: Peer, count: number): void {
  for (const _ of numbers(count)) {
    const { number, bytes } = peer.frame('conversations', { after: undefined })
    void reasonOf(peer.answerTo(number))
    peer.wire.send(bytes)
  }
}

test('C15: a reader who takes a little at a time hears everything, once and in order', async () => {
  const { alice } = stage
  using slow = await stage.person()
  const conversation = await alice.groupWith(slow)
  const sealed = numbers(60).map(() => random(20_000))
  await slow.ask('credit', { messages: 3, bytes: 70_000 })
  for (const each of sealed) await alice.send(conversation, each)
  let granted = 3
  while (slow.heard(conversation).length < sealed.length) {
    await slow.until(() => slow.deliveries.length >= Math.min(granted, sealed.length))
    assert(slow.deliveries.length <= granted, 'never more than there is credit for')
    slow.wire.socket.pause()
    await sleep(2)
    slow.wire.socket.resume()
    granted += 3
    await slow.ask('credit', { messages: 3, bytes: 70_000 })
  }
  assert.deepEqual(slow.heard(conversation), sealed)
})

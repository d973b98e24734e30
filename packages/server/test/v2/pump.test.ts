import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import type { Piece } from '../../src/storage.ts'
import { v2Limits } from '../../src/v2/limits.ts'
import { Pump } from '../../src/v2/pump.ts'
import { eventually, Peer, patterned } from './peer.ts'

interface Line extends AsyncDisposable {
  readonly ours: Socket
  readonly theirs: Peer
}

/** A connection of which we have both ends. */
async function line(): Promise<Line> {
  const { promise, resolve } = Promise.withResolvers<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    resolve(socket)
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const theirs = await Peer.dial((server.address() as { port: number }).port)
  const ours = await promise
  return {
    ours,
    theirs,
    async [Symbol.asyncDispose]() {
      theirs.socket.destroy()
      ours.destroy()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** Pieces that count how many of them are between being asked for and being released. */
function counted(contents: readonly Uint8Array[]) {
  const count = { asked: 0, released: 0, most: 0, ended: false }
  async function* pieces(): AsyncGenerator<Piece> {
    try {
      for (const bytes of contents) {
        count.asked += 1
        count.most = Math.max(count.most, count.asked - count.released)
        yield {
          bytes,
          release() {
            count.released += 1
          },
        }
      }
    } finally {
      count.ended = true
    }
  }
  return { count, pieces: pieces() }
}

/** The silence never passes by itself: what happens then is brought about by `silencePasses`. */
const limits = { ...v2Limits, writeSilenceMs: 86_400_000 }

/** What Node does when the time of a socket is over: it looks whether anything has left since it looked last. */
function silencePasses(socket: Socket): void {
  const look: unknown = Reflect.get(socket, '_onTimeout')
  assert(typeof look === 'function', 'Node has this for the timers of its own')
  look.call(socket)
}

/** What was handed to the system and has not left yet, as Node sees it when it looks. */
function stillToLeave(socket: Socket): unknown {
  return Reflect.get(Reflect.get(socket, '_handle'), 'writeQueueSize')
}

test('all pieces arrive in order, each is released once, and only a few are under way at a time', async () => {
  await using both = await line()
  const contents = Array.from({ length: 40 }, (_, i) => patterned(100_000 + i, i))
  const { count, pieces } = counted(contents)
  assert.equal(await new Pump(both.ours, limits).run(pieces), true)
  both.ours.end()
  const { answer, clean } = await both.theirs.finish()
  assert.equal(clean, true)
  assert.equal(answer.equals(Buffer.concat(contents)), true)
  assert.equal(count.released, contents.length)
  assert.ok(count.most <= limits.piecesUnderWayMax, `${count.most} at a time`)
})

test('a reader that stands still for the whole silence ends the run, and the source is closed', async () => {
  await using both = await line()
  both.theirs.socket.pause()
  const { count, pieces } = counted(Array.from({ length: 40 }, () => Buffer.alloc(2 ** 20)))
  const run = new Pump(both.ours, limits).run(pieces)
  await eventually('nothing more is asked for', () => count.asked - count.released === limits.piecesUnderWayMax)
  assert.equal(both.ours.timeout, limits.writeSilenceMs)
  silencePasses(both.ours) // something left before
  silencePasses(both.ours)
  assert.equal(await run, false)
  assert.equal(count.ended, true)
  assert.ok(count.asked < 40)
  both.ours.destroy()
  await eventually('every buffer is released', () => count.released === count.asked)
})

test('a slow reader that takes a little within every silence is waited for', async () => {
  await using both = await line()
  const { ours, theirs } = both
  const whole = patterned(24 * 2 ** 20, 3)
  const sip = (): unknown => theirs.socket.pause()
  theirs.socket.pause()
  theirs.socket.on('data', sip)
  const run = new Pump(ours, limits).run([{ bytes: whole, release() {} }])
  await eventually('bytes are under way', () => stillToLeave(ours) !== 0)
  for (let silences = 0; silences < 4; silences++) {
    const before = stillToLeave(ours)
    silencePasses(ours)
    await eventually('something more left', () => {
      theirs.socket.resume()
      return stillToLeave(ours) !== before
    })
    assert.notEqual(stillToLeave(ours), 0, 'it has not taken everything')
  }
  theirs.socket.off('data', sip).resume()
  assert.equal(await run, true)
  ours.end()
  assert.equal((await theirs.finish()).answer.equals(whole), true)
})

test('G03 a source slower than the silence is waited for, and a reader that stands still after that is not', async () => {
  await using both = await line()
  const { ours, theirs } = both
  const disk = Promise.withResolvers<void>()
  const handedOver = Promise.withResolvers<void>()
  async function* pieces(): AsyncGenerator<Piece> {
    yield { bytes: patterned(25), release: () => handedOver.resolve() }
    await disk.promise
    for (let i = 0; i < 40; i++) yield { bytes: Buffer.alloc(2 ** 20), release() {} }
  }
  const run = new Pump(ours, limits).run(pieces())
  await handedOver.promise
  for (let silences = 0; silences < 3; silences++) silencePasses(ours)
  theirs.socket.pause()
  disk.resolve()
  await eventually('bytes are under way', () => stillToLeave(ours) !== 0)
  silencePasses(ours) // something left before
  silencePasses(ours)
  assert.equal(await run, false)
})

test('a peer that resets ends the run, whether bytes are under way or the source is being waited for', async () => {
  for (const waiting of [false, true]) {
    await using both = await line()
    const source = Promise.withResolvers<void>()
    async function* pieces(): AsyncGenerator<Piece> {
      if (waiting) await source.promise
      for (let i = 0; i < 40; i++) yield { bytes: Buffer.alloc(2 ** 20), release() {} }
    }
    const pump = new Pump(both.ours, limits)
    const run = pump.run(pieces())
    both.theirs.socket.pause()
    if (!waiting) await eventually('bytes are under way', () => stillToLeave(both.ours) !== 0)
    both.theirs.socket.resetAndDestroy()
    if (waiting) await new Promise((closed) => both.ours.once('close', closed))
    source.resolve()
    assert.equal(await run, false)
  }
})

test('what the source throws leaves the run', async () => {
  await using both = await line()
  async function* pieces(): AsyncGenerator<Piece> {
    yield { bytes: Buffer.from('a'), release() {} }
    throw new Error('the disk is gone')
  }
  await assert.rejects(new Pump(both.ours, limits).run(pieces()), /the disk is gone/)
})

test('a pump that was stopped before its source gave anything comes to an end', async () => {
  await using both = await line()
  const { count, pieces } = counted([Buffer.alloc(10), Buffer.alloc(10)])
  const pump = new Pump(both.ours, limits)
  const run = pump.run(pieces)
  pump.stop()
  assert.equal(await run, false)
  assert.equal(count.ended, true)
})

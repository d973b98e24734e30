import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import type { Piece } from '../../src/storage.ts'
import { v2Limits } from '../../src/v2/limits.ts'
import { Pump } from '../../src/v2/pump.ts'
import { eventually, Peer, patterned, sleep } from './peer.ts'

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

const limits = { ...v2Limits, writeSilenceMs: 100 }

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

test('a reader that stands still ends the run, and the source is closed', async () => {
  await using both = await line()
  both.theirs.socket.pause()
  const { count, pieces } = counted(Array.from({ length: 40 }, () => Buffer.alloc(2 ** 20)))
  const began = performance.now()
  assert.equal(await new Pump(both.ours, limits).run(pieces), false)
  assert.ok(performance.now() - began >= limits.writeSilenceMs)
  assert.equal(count.ended, true)
  assert.ok(count.asked < 40)
  both.ours.destroy()
  await eventually('every buffer is released', () => count.released === count.asked)
})

test('a slow reader that takes a little now and then is waited for', async () => {
  await using both = await line()
  const whole = patterned(12 * 2 ** 20, 3)
  const run = new Pump(both.ours, limits).run([{ bytes: whole, release() {} }])
  for (let i = 0; i < 8; i++) {
    both.theirs.socket.pause()
    await sleep(60)
    both.theirs.socket.resume()
    await sleep(1)
  }
  assert.equal(await run, true)
  both.ours.end()
  assert.equal((await both.theirs.finish()).answer.equals(whole), true)
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
    await sleep(20)
    both.theirs.socket.resetAndDestroy()
    await sleep(20)
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

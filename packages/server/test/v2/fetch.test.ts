import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { openMemory } from '../../src/storage/memory.ts'
import type { Client, Fetched, Storage } from '../../src/storage.ts'
import type { V2Options } from '../../src/v2/listener.ts'
import { listenOn, openSqliteIn, registered, startV2, storages, temporaryFolder, type V2World } from '../world.ts'
import { HandClock } from './handclock.ts'
import {
  breakOff,
  eventually,
  exchange,
  fetchAll,
  fetchRequest,
  messagesIn,
  Peer,
  patterned,
  quiet,
  reasonsOf,
  refusal,
  sendRequest,
  short,
  sleep,
  stored,
  waitingFor,
  watchful,
  wrapped,
} from './peer.ts'

/** A listener with one sender and one reader, whose mailbox holds `contents`. */
async function mailbox(storage: Storage, contents: readonly Uint8Array[], options: Partial<V2Options> = {}) {
  const world = await startV2(storage, { limits: watchful, ...options })
  const sender = await registered(storage, 'sender')
  const reader = await registered(storage, 'reader')
  for (const content of contents) await stored(storage, sender, reader, content)
  return { world, sender, reader, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() }
}

/** What the log says about fetches: delivered or not. */
function verdicts({ log }: V2World): boolean[] {
  return log.flatMap((entry) => ('delivered' in entry ? [entry.delivered === true] : []))
}

function assertContents(messages: readonly { content: Buffer }[], contents: readonly Uint8Array[]): void {
  assert.deepEqual(
    messages.map(({ content }) => content.length),
    contents.map(({ length }) => length),
  )
  messages.forEach(({ content }, i) => {
    assert.ok(content.equals(contents[i] as Uint8Array), `content ${i} is what was stored`)
  })
}

for (const [kind, open] of Object.entries(storages))
  suite(`G03 a fetch on ${kind}`, () => {
    for (const how of ['close', 'reset'] as const)
      test(`a peer that sends the request and leaves at once (${how}) loses nothing, ten times with 16 B to 300 kB`, async () => {
        await using folder = await temporaryFolder()
        await using at = await mailbox(await open(folder.path), [])
        for (const bytes of [16, 5000, 65_536, 65_537, 300_000]) {
          const contents = [patterned(bytes), patterned(16)]
          for (const content of contents) await stored(at.world.storage, at.sender, at.reader, content)
          at.world.log.length = 0
          for (let i = 0; i < 10; i++) await breakOff(at.world, at.reader, { cut: 0, how })
          await quiet(at.world)
          assert.equal(waitingFor(at.world, at.reader), 2, `${bytes} bytes`)
          assert.equal(verdicts(at.world).includes(true), false)
          assertContents(await fetchAll(at.world, at.reader), contents)
          await eventually('it is removed', () => waitingFor(at.world, at.reader) === 0)
        }
      })

    for (const how of ['close', 'reset'] as const)
      test(`a peer that breaks off (${how}) before the last byte loses nothing`, async () => {
        await using folder = await temporaryFolder()
        const contents = [patterned(16), patterned(3_000_000, 2), patterned(100, 3)]
        await using at = await mailbox(await open(folder.path), contents)
        for (const cut of [1, 7, 32, 100_000, 2_900_000]) {
          const { got } = await breakOff(at.world, at.reader, { cut, how })
          assert.ok(got < 3_000_198, `${got} bytes were read`)
        }
        await quiet(at.world)
        assert.deepEqual(verdicts(at.world), [false, false, false, false, false])
        assertContents(await fetchAll(at.world, at.reader), contents)
      })

    test('a peer that takes nothing is let go after the write silence, and everything is kept', async () => {
      await using folder = await temporaryFolder()
      const contents = Array.from({ length: 12 }, (_, i) => patterned(2 ** 20, i))
      const limits = { ...watchful, writeSilenceMs: 150 }
      await using at = await mailbox(await open(folder.path), contents, { limits })
      using peer = await Peer.dial(at.world.port)
      peer.socket.pause()
      const began = performance.now()
      peer.write(fetchRequest(at.reader))
      await eventually('it was judged', () => verdicts(at.world).length === 1)
      assert.ok(performance.now() - began >= limits.writeSilenceMs - 1, 'not early')
      await quiet(at.world)
      assert.deepEqual(verdicts(at.world), [false])
      peer.socket.destroy()
      await using patient = await listenOn(at.world.storage)
      assertContents(await fetchAll(patient, at.reader), contents)
    })

    test('a peer that takes nothing of an answer that the system took over whole is let go, and everything is kept', async () => {
      await using folder = await temporaryFolder()
      const clock = new HandClock()
      const options = { limits: short, nowMs: clock.nowMs }
      await using at = await mailbox(await open(folder.path), [patterned(16), patterned(30_000)], options)
      using peer = await Peer.dial(at.world.port)
      peer.socket.pause()
      peer.write(fetchRequest(at.reader))
      const lasted = await clock.until('it was judged', () => verdicts(at.world).length === 1)
      assert.ok(lasted >= short.closeMs && lasted < 250, `it was let go after ${lasted} ms`)
      assert.deepEqual(verdicts(at.world), [false])
      assert.equal(waitingFor(at.world, at.reader), 2)
    })

    test('of two fetches at once the second waits, and gets nothing', async () => {
      await using folder = await temporaryFolder()
      await using at = await mailbox(await open(folder.path), [patterned(200_000)], { limits: {} })
      using first = await Peer.dial(at.world.port)
      using second = await Peer.dial(at.world.port)
      first.write(fetchRequest(at.reader))
      await first.until(1)
      first.socket.pause()
      second.write(fetchRequest(at.reader))
      await sleep(50)
      assert.equal(second.got, 0)
      first.socket.resume()
      assert.equal(messagesIn((await first.finish()).answer).length, 1)
      assert.equal(messagesIn((await second.finish()).answer).length, 0)
    })

    test('when the first of two fetches breaks, the second gets everything', async () => {
      await using folder = await temporaryFolder()
      await using at = await mailbox(await open(folder.path), [patterned(200_000)], { limits: {} })
      using first = await Peer.dial(at.world.port)
      using second = await Peer.dial(at.world.port)
      first.write(fetchRequest(at.reader))
      await first.until(1)
      first.socket.pause()
      second.write(fetchRequest(at.reader))
      first.socket.resetAndDestroy()
      assertContents(messagesIn((await second.finish()).answer), [patterned(200_000)])
    })

    test('what arrives during a fetch belongs to the next one', async () => {
      await using folder = await temporaryFolder()
      await using at = await mailbox(await open(folder.path), [patterned(3_000_000)], { limits: {} })
      using peer = await Peer.dial(at.world.port)
      peer.write(fetchRequest(at.reader))
      await peer.until(1000)
      peer.socket.pause()
      const late = sendRequest({ from: at.sender.login, to: at.reader.id, content: Buffer.from('late') })
      assert.equal((await exchange(at.world.port, late)).answer.length, 27)
      peer.socket.resume()
      assertContents(messagesIn((await peer.finish()).answer), [patterned(3_000_000)])
      assertContents(await fetchAll(at.world, at.reader), [Buffer.from('late')])
      assertContents(await fetchAll(at.world, at.reader), [])
    })

    test('texts of 1, 8 and 64 MB reach a slow reader whole', async () => {
      await using folder = await temporaryFolder()
      const contents = [1, 8, 64].map((megabytes) => patterned(megabytes * 1_000_000, megabytes))
      await using at = await mailbox(await open(folder.path), contents, { limits: {} })
      using peer = await Peer.dial(at.world.port)
      peer.write(fetchRequest(at.reader))
      for (let i = 0; i < 30; i++) {
        peer.socket.pause()
        await sleep(15)
        peer.socket.resume()
        await sleep(3)
      }
      const { answer, clean } = await peer.finish()
      assert.equal(clean, true)
      assertContents(messagesIn(answer), contents)
      await eventually('it is removed', () => waitingFor(at.world, at.reader) === 0)
    })
  })

suite('G03 the removal after a fetch', () => {
  test('is committed before the next fetch of that mailbox begins', async () => {
    const memory = openMemory()
    const discarding = Promise.withResolvers<void>()
    const order: string[] = []
    const slow = wrapped(memory, {
      waiting(recipient, bytesMax): Fetched {
        order.push('waiting')
        return memory.waiting(recipient, bytesMax)
      },
      async discard(fetched): Promise<void> {
        order.push('discard')
        await discarding.promise
        await memory.discard(fetched)
        order.push('discarded')
      },
    })
    await using at = await mailbox(slow, [patterned(10)], { limits: {} })
    await fetchAll(at.world, at.reader)
    using second = await Peer.dial(at.world.port)
    second.write(fetchRequest(at.reader))
    await sleep(50)
    assert.equal(second.got, 0)
    discarding.resolve()
    assert.equal(messagesIn((await second.finish()).answer).length, 0)
    assert.deepEqual(order, ['waiting', 'discard', 'discarded', 'waiting'])
  })

  test('that fails is logged, and the messages come again', async () => {
    const memory = openMemory()
    let broken = true
    const failing = wrapped(memory, {
      discard: (fetched) => (broken ? Promise.reject(new Error('no more disk')) : memory.discard(fetched)),
    })
    await using at = await mailbox(failing, [patterned(10)])
    assert.equal((await fetchAll(at.world, at.reader)).length, 1)
    await eventually('it was logged', () => reasonsOf(at.world).includes('internal'))
    broken = false
    assert.equal((await fetchAll(at.world, at.reader)).length, 1)
    assert.equal((await fetchAll(at.world, at.reader)).length, 0)
  })

  test('does not happen when the server dies between the close and the removal: nothing is lost', async () => {
    await using folder = await temporaryFolder()
    let asked = 0
    {
      const sqlite = await openSqliteIn(folder.path)
      const dying = wrapped(sqlite, {
        discard() {
          asked += 1
          return Promise.reject(new Error('the process is gone'))
        },
      })
      await using at = await mailbox(dying, [patterned(10), patterned(100_000)])
      assert.equal((await fetchAll(at.world, at.reader)).length, 2)
      await eventually('the removal was asked for', () => asked === 1)
    }
    const sqlite = await openSqliteIn(folder.path)
    await using world = await startV2(sqlite)
    const [reader] = sqlite.listing({ number: 1 } as Client).map((view) => Buffer.from(view).subarray(0, 16))
    const client = sqlite.clientByLogin(reader as unknown as Client['login']) as Client
    assertContents(await fetchAll(world, client), [patterned(10), patterned(100_000)])
  })
})

suite('G03 a fetch that waits', () => {
  /** A mailbox with a fetch under way that takes nothing. */
  async function occupied(options: Partial<V2Options> = {}) {
    const contents = Array.from({ length: 12 }, (_, i) => patterned(2 ** 20, i))
    const at = await mailbox(openMemory(), contents, options)
    const first = await Peer.dial(at.world.port)
    first.write(fetchRequest(at.reader))
    await first.until(1)
    first.socket.pause()
    const second = await Peer.dial(at.world.port)
    second.write(fetchRequest(at.reader))
    await eventually('both are there', () => at.world.listener.connections === 2)
    const release = async (): Promise<void> => {
      first.socket.destroy()
      second.socket.destroy()
      await at[Symbol.asyncDispose]()
    }
    return { ...at, first, second, [Symbol.asyncDispose]: release }
  }

  test('gives up after its time with the error', async () => {
    const clock = new HandClock()
    await using at = await occupied({ limits: short, nowMs: clock.nowMs })
    const waited = await clock.until('it gives up', () => at.second.got > 0)
    assert.ok(waited >= short.turnMs && waited < 250, `it waited ${waited} ms`)
    const { answer, clean } = await at.second.finish()
    assert.deepEqual({ answer: answer.toString('hex'), clean }, { answer: refusal, clean: true })
    assert.deepEqual(reasonsOf(at.world), ['busy'])
  })

  test('gives up at once when its peer ends its side', async () => {
    await using at = await occupied()
    at.second.socket.end()
    assert.equal((await at.second.finish()).answer.toString('hex'), refusal)
  })

  test('is forgotten when its peer resets, and the next in line gets its turn', async () => {
    await using at = await occupied()
    using third = await Peer.dial(at.world.port)
    third.write(fetchRequest(at.reader))
    await eventually('all are there', () => at.world.listener.connections === 3)
    at.second.socket.resetAndDestroy()
    await eventually('it is gone', () => at.world.listener.connections === 2)
    at.first.socket.resetAndDestroy()
    assert.equal(messagesIn((await third.finish()).answer).length, 12)
  })

  test('keeps nobody else waiting: others fetch, send and list meanwhile', async () => {
    await using at = await occupied()
    assert.equal((await fetchAll(at.world, at.sender)).length, 0)
    const text = sendRequest({ from: at.sender.login, to: at.reader.id, content: Buffer.from('hello') })
    assert.equal((await exchange(at.world.port, text)).answer.length, 27)
  })

  test('I9 a thousand of them are served one after the other when the mailbox is free', async () => {
    await using at = await occupied()
    const crowd = await Promise.all(Array.from({ length: 1000 }, () => Peer.dial(at.world.port)))
    for (const peer of crowd) peer.write(fetchRequest(at.reader))
    await eventually('all are there', () => at.world.listener.connections === 1002)
    at.first.socket.resetAndDestroy()
    at.second.socket.resetAndDestroy()
    const answers = await Promise.all(crowd.map((peer) => peer.finish()))
    const counts = answers.map(({ answer }) => messagesIn(answer).length).filter((count) => count > 0)
    assert.deepEqual(counts, [12], 'one gets everything, the others nothing')
  })
})

suite('G03 the size of one answer', () => {
  test('is at most 2^32 - 1 bytes of whole messages; the rest comes with the next fetch', async () => {
    const memory = openMemory()
    const maxima: number[] = []
    const small = wrapped(memory, {
      waiting(recipient, bytesMax): Fetched {
        maxima.push(bytesMax)
        return memory.waiting(recipient, 1000)
      },
    })
    const contents = [patterned(400, 1), patterned(400, 2), patterned(400, 3), patterned(5000, 4), patterned(1, 5)]
    await using at = await mailbox(small, contents)
    assertContents(await fetchAll(at.world, at.reader), contents.slice(0, 2))
    assertContents(await fetchAll(at.world, at.reader), contents.slice(2, 3))
    assertContents(await fetchAll(at.world, at.reader), contents.slice(3, 4)) // larger than the maximum, and alone
    assertContents(await fetchAll(at.world, at.reader), contents.slice(4))
    assert.deepEqual(new Set(maxima), new Set([2 ** 32 - 1]))
  })

  test('a mailbox of more than 4 GiB is announced as what fits, and kept when less than that was sent', async () => {
    const memory = openMemory()
    const huge = wrapped(memory, {
      waiting: (recipient, bytesMax): Fetched => ({ ...memory.waiting(recipient, bytesMax), bytes: bytesMax }),
    })
    await using at = await mailbox(huge, [patterned(100)])
    using peer = await Peer.dial(at.world.port)
    peer.write(fetchRequest(at.reader))
    await peer.until(132)
    assert.equal(peer.answer.toString('hex', 0, 7), '02ec03ffffffff')
    peer.socket.end()
    await quiet(at.world)
    assert.equal(waitingFor(at.world, at.reader), 1)
    assert.deepEqual(reasonsOf(at.world), ['internal'])
  })
})

suite('G03 a fetch from another machine', () => {
  const remote = { isLocal: () => false }

  test('is held open after the last byte, for a client that dies while bytes are on their way', async () => {
    const clock = new HandClock({ stepMs: 1 })
    const options = { ...remote, limits: { ...short, holdMs: 200 }, nowMs: clock.nowMs }
    await using at = await mailbox(openMemory(), [patterned(1000)], options)
    using peer = await Peer.dial(at.world.port)
    peer.write(fetchRequest(at.reader))
    await peer.until(1032)
    const held = await clock.until('it is ended', () => peer.ended)
    assert.ok(held >= 200 && held < 300, `it was held ${held} ms`)
    const { answer } = await peer.finish()
    assertContents(messagesIn(answer), [patterned(1000)])
    await eventually('it is removed', () => waitingFor(at.world, at.reader) === 0)
  })

  test('is held open longer for more bytes, because a slow network may still carry them', async () => {
    const limits = { ...short, holdMs: 10, slowestBytesPerMs: 100, systemBufferBytesMax: 20_000 }
    for (const [bytes, heldMs] of [
      [100, 11],
      [20_000, 210],
      [60_000, 210],
    ] as const) {
      const clock = new HandClock({ stepMs: 1 })
      await using at = await mailbox(openMemory(), [patterned(bytes)], { ...remote, limits, nowMs: clock.nowMs })
      using peer = await Peer.dial(at.world.port)
      peer.write(fetchRequest(at.reader))
      await peer.until(bytes + 32)
      const held = await clock.until('it is ended', () => peer.ended)
      assert.ok(held >= heldMs && held < heldMs + 100, `${bytes} bytes were held ${held} ms`)
    }
  })

  test('by a client that closes when it has everything is settled soon', async () => {
    await using at = await mailbox(openMemory(), [patterned(1000)], { ...remote, limits: watchful })
    using peer = await Peer.dial(at.world.port)
    peer.write(fetchRequest(at.reader))
    await peer.until(1032)
    peer.socket.end()
    await eventually('it is removed', () => waitingFor(at.world, at.reader) === 0)
    assert.deepEqual(verdicts(at.world), [true])
  })

  test('by a client that ends its side and resets soon after is not delivered', async () => {
    const clock = new HandClock({ stepMs: 1 })
    const limits = { ...short, holdMs: 30_000, settleMs: 200 }
    await using at = await mailbox(openMemory(), [patterned(100_000)], { ...remote, limits, nowMs: clock.nowMs })
    using peer = await Peer.dial(at.world.port)
    peer.write(fetchRequest(at.reader))
    await peer.until(1000)
    peer.socket.end()
    await clock.pass(60)
    assert.deepEqual(verdicts(at.world), [])
    peer.socket.resetAndDestroy()
    await clock.until('it was judged', () => verdicts(at.world).length === 1)
    assert.deepEqual(verdicts(at.world), [false])
  })
})

test('a fetch of stored bytes that are damaged is reported and broken off; the others come with the next one', async () => {
  const memory = openMemory()
  let broken = true
  const damaged = wrapped(memory, {
    async *read(fetched) {
      for await (const piece of memory.read(fetched)) {
        yield piece
        if (broken) throw new Error('EIO')
      }
    },
  })
  await using at = await mailbox(damaged, [patterned(100), patterned(100)])
  using peer = await Peer.dial(at.world.port)
  peer.write(fetchRequest(at.reader))
  await peer.finish()
  await quiet(at.world)
  assert.deepEqual(reasonsOf(at.world), ['internal'])
  broken = false
  assert.equal((await fetchAll(at.world, at.reader)).length, 2)
})

import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { suite, test } from 'node:test'
import { ProtocolError } from '@messageu/protocol'
import { openMemory } from '../../src/storage/memory.ts'
import type { Client, IncomingContent } from '../../src/storage.ts'
import { openSqliteIn, registered, startV2, storages, temporaryFolder } from '../world.ts'
import { HandClock } from './handclock.ts'
import {
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
  wrapped,
} from './peer.ts'
import { dice } from './random.ts'

const accepted = /^02eb0314000000/

async function alone(port: number, request: Uint8Array): Promise<string> {
  return (await exchange(port, request)).answer.toString('hex')
}

for (const [kind, open] of Object.entries(storages))
  test(`W08 interleaved uploads with requests behind them on forty connections stay apart, on ${kind}`, async () => {
    await using folder = await temporaryFolder()
    await using world = await startV2(await open(folder.path))
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    const chance = dice(11)
    const uploads = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const content = patterned(chance.pick([0, 1, 500, 65_536, 65_537, 400_000]) + (i % 3), i)
        const type = content.length > 60_000 ? 4 : 3
        const request = sendRequest({ from: alice.login, to: bob.id, type, content })
        const behind = chance.pick([new Uint8Array(0), Buffer.from('x'), fetchRequest(bob), request.subarray(0, 100)])
        return { content, bytes: Buffer.concat([request, behind]), at: 0, peer: await Peer.dial(world.port) }
      }),
    )
    let unsent = uploads
    while (unsent.length > 0) {
      const upload = chance.pick(unsent)
      const count = chance.pick([1, 10, 22, 1000, 60_000])
      upload.peer.write(upload.bytes.subarray(upload.at, upload.at + count))
      upload.at += count
      unsent = unsent.filter(({ bytes, at }) => at < bytes.length)
      if (chance.below(4) === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    const expected = new Map<number, Buffer>()
    for (const { peer, content } of uploads) {
      const { answer, clean } = await peer.finish()
      assert.equal(clean, true)
      assert.match(answer.toString('hex'), accepted)
      assert.equal(answer.length, 27, 'one answer a connection')
      expected.set(answer.readUInt32LE(23), content)
    }
    const messages = await fetchAll(world, bob)
    assert.equal(messages.length, uploads.length)
    for (const { id, content } of messages) assert.ok(content.equals(expected.get(id) as Buffer), `message ${id}`)
  })

suite('C10 the room of a mailbox', () => {
  const limits = { mailboxBytesMax: 200_000 }

  test('is judged by what is announced, uploads under way included', async () => {
    await using world = await startV2(openMemory({ limits }))
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    const tooLarge = sendRequest({ from: alice.login, to: bob.id, contentBytes: 200_001 })
    assert.equal(await alone(world.port, tooLarge), refusal)
    using first = await Peer.dial(world.port)
    first.write(sendRequest({ from: alice.login, to: bob.id, contentBytes: 150_000 }))
    await sleep(20)
    const second = sendRequest({ from: alice.login, to: bob.id, content: patterned(60_000) })
    assert.equal(await alone(world.port, second), refusal)
    assert.deepEqual(reasonsOf(world), ['mailbox-full', 'mailbox-full'])
    first.write(patterned(150_000))
    assert.match((await first.finish()).answer.toString('hex'), accepted)
    assert.equal((await fetchAll(world, bob)).length, 1)
    await eventually('there is room again', () => waitingFor(world, bob) === 0)
    assert.match(await alone(world.port, second), accepted)
  })

  const abandon: Record<string, (peer: Peer) => void> = {
    'ends its side': (peer) => peer.socket.end(),
    closes: (peer) => peer.socket.destroy(),
    resets: (peer) => peer.socket.resetAndDestroy(),
    'falls silent': () => {},
  }
  for (const [kind, open] of Object.entries(storages))
    for (const [how, leave] of Object.entries(abandon))
      test(`is given back, with file and budgets, when an upload ${how} in the middle, on ${kind}`, async () => {
        for (const bytes of [60_000, 150_000]) {
          await using folder = await temporaryFolder()
          const storage = await open(folder.path, { limits: { mailboxBytesMax: bytes + 100 } })
          const clock = new HandClock()
          const tight = { ...short, transfersMax: 2, bufferedBytesMax: bytes }
          await using world = await startV2(storage, { limits: tight, nowMs: clock.nowMs })
          const [alice, bob] = [await registered(storage, 'alice'), await registered(storage, 'bob')]
          for (const part of [0, 1, bytes - 1]) {
            using peer = await Peer.dial(world.port)
            peer.write(sendRequest({ from: alice.login, to: bob.id, contentBytes: bytes }))
            if (part > 0) peer.write(patterned(part))
            await sleep(part === 1 ? 10 : 0)
            leave(peer)
            if (how === 'falls silent') await clock.during(peer.finish())
            await quiet(world)
          }
          const whole = sendRequest({ from: alice.login, to: bob.id, content: patterned(bytes) })
          let answer = refusal // the file of the last one may still be on its way out
          const until = performance.now() + 30_000
          while (answer === refusal && performance.now() < until) answer = await alone(world.port, whole)
          assert.match(answer, accepted)
          assert.equal((await fetchAll(world, bob)).length, 1)
          if (kind === 'sqlite') {
            const incoming = path.join(folder.path, 'content', 'incoming')
            assert.deepEqual(await readdir(incoming), [])
          }
        }
      })
})

test('C10 of three hundred uploads at once some get the error, and all others arrive whole', async () => {
  await using folder = await temporaryFolder()
  await using world = await startV2(await openSqliteIn(folder.path), { limits: { transfersMax: 100 } })
  const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
  const contents = Array.from({ length: 300 }, (_, i) => patterned(70_000 + i, i))
  const peers = await Promise.all(contents.map(() => Peer.dial(world.port)))
  peers.forEach((peer, i) => {
    const content = contents[i] as Buffer
    peer.write(sendRequest({ from: alice.login, to: bob.id, type: 4, contentBytes: content.length }))
    peer.write(content.subarray(0, 30_000))
  })
  await eventually('all were looked at', () => reasonsOf(world).length === 200)
  peers.forEach((peer, i) => {
    peer.write((contents[i] as Buffer).subarray(30_000))
  })
  const answers = await Promise.all(peers.map((peer) => peer.finish()))
  assert.ok(answers.every(({ clean }) => clean))
  const good = answers.flatMap(({ answer }, i) => (answer.length === 27 ? [contents[i] as Buffer] : []))
  assert.equal(good.length, 100)
  assert.deepEqual(new Set(reasonsOf(world)), new Set(['busy']))
  const messages = await fetchAll(world, bob)
  const sizes = new Map(good.map((content) => [content.length, content]))
  assert.equal(messages.length, 100)
  for (const { content } of messages) assert.ok(content.equals(sizes.get(content.length) as Buffer))
  await eventually('it is removed', () => waitingFor(world, bob) === 0)
  assert.match(
    await alone(world.port, sendRequest({ from: alice.login, to: bob.id, content: patterned(70_000) })),
    accepted,
  )
})

test('C10 L05 below the disk reserve sends are refused, and fetches go on', async () => {
  await using folder = await temporaryFolder()
  let freeBytes = 2 ** 40
  const freeSpace = async () => ({ freeBytes, totalBytes: 2 ** 40 })
  let now = 0
  const storage = await openSqliteIn(folder.path, { freeSpace, diskReserveShare: 0.05, nowMs: () => now })
  await using world = await startV2(storage)
  const [alice, bob] = [await registered(storage, 'alice'), await registered(storage, 'bob')]
  const [text, file] = [1000, 100_000].map((bytes) =>
    sendRequest({ from: alice.login, to: bob.id, content: patterned(bytes) }),
  ) as [Buffer, Buffer]
  assert.match(await alone(world.port, text), accepted)
  freeBytes = 2 ** 40 * 0.05
  now += 5000
  await alone(world.port, text) // the look at the disk begins with the first question after a while
  const before = waitingFor(world, bob)
  for (const request of [text, file]) assert.equal(await alone(world.port, request), refusal)
  assert.equal(reasonsOf(world).at(-1), 'storage-full')
  assert.equal((await fetchAll(world, bob)).length, before)
  freeBytes = 2 ** 40
  now += 5000
  await alone(world.port, text)
  assert.match(await alone(world.port, file), accepted)
})

suite('C10 a storage that fails an upload', () => {
  const failures: Record<string, (content: IncomingContent) => Partial<IncomingContent>> = {
    'has no room in the middle': () => ({
      write: () => false,
      room: () => Promise.reject(new ProtocolError('storage-full', 'no space')),
    }),
    'cannot finish': () => ({ finish: () => Promise.reject(new ProtocolError('storage-full', 'no space')) }),
    'throws something else': () => ({ finish: () => Promise.reject(new Error('a mistake of ours')) }),
    'is slow to take more': (content) => {
      let full = true
      return {
        write(piece) {
          content.write(piece)
          full = !full
          return !full
        },
        room: () => sleep(30),
      }
    },
  }
  for (const [what, change] of Object.entries(failures))
    test(`because it ${what}: the peer is told, and nothing stays taken`, async () => {
      const memory = openMemory({ limits: { mailboxBytesMax: 3_100_000 } })
      let disposed = 0
      const storage = wrapped(memory, {
        async receive(bytes) {
          const content = await memory.receive(bytes)
          return {
            write: (piece) => content.write(piece),
            room: () => content.room(),
            finish: () => content.finish(),
            ...change(content),
            async [Symbol.asyncDispose]() {
              disposed += 1
              await content[Symbol.asyncDispose]()
            },
          }
        },
      })
      await using world = await startV2(storage, { limits: { transfersMax: 1 } })
      const [alice, bob] = [await registered(memory, 'alice'), await registered(memory, 'bob')]
      for (let i = 0; i < 3; i++) {
        const content = patterned(1_000_000, i)
        const { answer, clean } = await exchange(world.port, sendRequest({ from: alice.login, to: bob.id, content }))
        assert.equal(clean, true)
        if (what === 'is slow to take more') assert.match(answer.toString('hex'), accepted)
        else assert.equal(answer.toString('hex'), refusal)
        await eventually('it was disposed', () => disposed === i + 1)
      }
      const got = (await fetchAll(world, bob)).map(({ content }) => content)
      assert.ok(got.every((content, i) => content.equals(patterned(1_000_000, i))))
      assert.equal(reasonsOf(world).includes('busy'), false)
    })

  test('because it cannot even begin: the refusal arrives although the whole content is under way', async () => {
    const memory = openMemory()
    const storage = wrapped(memory, {
      async receive() {
        await sleep(30)
        throw new ProtocolError('storage-full', 'no space')
      },
    })
    await using world = await startV2(storage)
    const [alice, bob] = [await registered(memory, 'alice'), await registered(memory, 'bob')]
    const request = sendRequest({ from: alice.login, to: bob.id, content: patterned(4_000_000) })
    const { answer, clean } = await exchange(world.port, request)
    assert.deepEqual({ answer: answer.toString('hex'), clean }, { answer: refusal, clean: true })
  })

  test('while the peer leaves: a reset before the file is open leaves nothing', async () => {
    const memory = openMemory()
    const opening = Promise.withResolvers<void>()
    let disposed = 0
    const storage = wrapped(memory, {
      async receive(bytes) {
        await opening.promise
        const content = await memory.receive(bytes)
        return Object.assign(content, {
          async [Symbol.asyncDispose]() {
            disposed += 1
          },
        })
      },
    })
    await using world = await startV2(storage, { limits: { transfersMax: 1 } })
    const [alice, bob] = [await registered(memory, 'alice'), await registered(memory, 'bob')]
    using peer = await Peer.dial(world.port)
    peer.write(sendRequest({ from: alice.login, to: bob.id, contentBytes: 100_000 }))
    await sleep(20)
    peer.socket.resetAndDestroy()
    await sleep(20)
    opening.resolve()
    await quiet(world)
    await eventually('it was disposed', () => disposed === 1)
    assert.match(
      await alone(world.port, sendRequest({ from: alice.login, to: bob.id, content: patterned(70_000) })),
      accepted,
    )
  })
})

test('a text that comes in pieces of one byte arrives whole', async () => {
  await using world = await startV2(openMemory())
  const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
  using peer = await Peer.dial(world.port)
  const content = patterned(3000)
  peer.write(sendRequest({ from: alice.login, to: bob.id, contentBytes: content.length }))
  for (const byte of content) {
    peer.write(Uint8Array.of(byte))
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.match((await peer.finish()).answer.toString('hex'), accepted)
  assert.ok((await fetchAll(world, bob))[0]?.content.equals(content))
})

test('a sender that leaves after its last byte has sent its message, answer or not', async () => {
  await using folder = await temporaryFolder()
  await using world = await startV2(await openSqliteIn(folder.path))
  const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
  for (const bytes of [100, 100_000]) {
    const request = sendRequest({ from: alice.login, to: bob.id, content: patterned(bytes) })
    using peer = await Peer.dial(world.port)
    await new Promise<void>((resolve) => peer.socket.write(request, () => resolve()))
    peer.socket.destroy()
  }
  await eventually('both are there', () => waitingFor(world, bob) === 2)
  await quiet(world)
  const lengths = messagesIn((await exchange(world.port, fetchRequest(bob))).answer).map(
    ({ content }) => content.length,
  )
  assert.deepEqual(
    lengths.toSorted((a, b) => a - b),
    [100, 100_000],
  )
})

test('the budget of small contents is shared, and a large crowd of announcements is refused', async () => {
  await using world = await startV2(openMemory(), { limits: { bufferedBytesMax: 100_000 } })
  const [alice, bob]: [Client, Client] = [
    await registered(world.storage, 'alice'),
    await registered(world.storage, 'bob'),
  ]
  using first = await Peer.dial(world.port)
  first.write(sendRequest({ from: alice.login, to: bob.id, contentBytes: 60_000 }))
  await sleep(20)
  const second = sendRequest({ from: alice.login, to: bob.id, content: patterned(60_000) })
  assert.equal(await alone(world.port, second), refusal)
  assert.deepEqual(reasonsOf(world), ['busy'])
  await stored(world.storage, alice, bob, patterned(10))
  assert.equal((await fetchAll(world, bob)).length, 1)
  first.socket.destroy()
  await quiet(world)
  assert.match(await alone(world.port, second), accepted)
})

import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { suite, test } from 'node:test'
import { openMemory } from '../../src/storage/memory.ts'
import { openSqliteIn, registered, startV2, temporaryFolder } from '../world.ts'
import { HandClock } from './handclock.ts'
import {
  eventually,
  exchange,
  fetchAll,
  fetchRequest,
  header,
  listRequest,
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
} from './peer.ts'

suite('W06 a peer that is slow on purpose', () => {
  test('one byte at a time does not extend the time of a header', async () => {
    const clock = new HandClock()
    await using world = await startV2(openMemory(), { limits: short, nowMs: clock.nowMs })
    const alice = await registered(world.storage, 'alice')
    using peer = await Peer.dial(world.port)
    let written = 0
    for (const byte of listRequest(alice)) {
      if (peer.got > 0) break
      peer.write(Uint8Array.of(byte))
      written += 1
      await clock.pass(20)
    }
    assert.ok(written < 22, 'the whole header was not waited for')
    const { answer, clean } = await peer.finish()
    assert.deepEqual({ answer: answer.toString('hex'), clean }, { answer: refusal, clean: true })
    assert.deepEqual(reasonsOf(world), ['timeout'])
  })

  test('one byte at a time does not extend the time of a content, however large, beyond what its size allows', async () => {
    const clock = new HandClock()
    const limits = { ...short, contentMs: 200, slowestBytesPerMs: 1000 }
    await using world = await startV2(openMemory(), { limits, nowMs: clock.nowMs })
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    using peer = await Peer.dial(world.port)
    peer.write(sendRequest({ from: alice.login, to: bob.id, contentBytes: 100_000 }))
    const lasted = await clock.until('it is refused', () => {
      if (peer.got === 0) peer.write(Uint8Array.of(1))
      return peer.got > 0
    })
    assert.ok(lasted >= 300 && lasted < 400, `it lasted ${lasted} ms instead of 200 + 100`)
    assert.equal((await peer.finish()).answer.toString('hex'), refusal)
  })

  test('six hundred that say nothing, half of something or never read are ended, and others do not notice', async () => {
    const clock = new HandClock({ stepMs: 100 })
    const limits = { settleMs: 20, slowestBytesPerMs: 1_000_000 }
    await using world = await startV2(openMemory(), { limits, nowMs: clock.nowMs })
    const [alice, bob, carol] = [
      await registered(world.storage, 'alice'),
      await registered(world.storage, 'bob'),
      await registered(world.storage, 'carol'),
    ]
    await stored(world.storage, alice, bob, patterned(20_000_000))
    const starts = [
      new Uint8Array(0),
      listRequest(alice).subarray(0, 10),
      header(alice.id, 100, 415),
      sendRequest({ from: alice.login, to: bob.id, contentBytes: 50_000 }),
      sendRequest({ from: alice.login, to: bob.id, contentBytes: 100_000 }),
      fetchRequest(bob),
    ]
    const crowd = await Promise.all(Array.from({ length: 600 }, () => Peer.dial(world.port)))
    crowd.forEach((peer, i) => {
      if (i % starts.length === 5) peer.socket.pause()
      peer.write(starts[i % starts.length] as Uint8Array)
    })
    await eventually('they are all there', () => world.listener.connections === 600)
    for (let i = 0; i < 60; i++) {
      const text = sendRequest({ from: alice.login, to: carol.id, content: patterned(300, i) })
      assert.equal((await exchange(world.port, text)).answer.length, 27)
    }
    assert.equal((await fetchAll(world, carol)).length, 60)
    await eventually('nobody has gone but those who were served', () => world.listener.connections === 600)
    for (const peer of crowd) peer.socket.end()
    await clock.until('all of them are let go', () => world.listener.connections === 0)
    assert.equal(waitingFor(world, bob), 1)
    for (const peer of crowd) peer.socket.destroy()
  })

  test('a refused one that keeps its side open is let go after the silence', async () => {
    const clock = new HandClock()
    await using world = await startV2(openMemory(), { limits: short, nowMs: clock.nowMs })
    using peer = await Peer.dial(world.port)
    peer.write(header(new Uint8Array(16), 99, 0))
    await peer.until(7)
    const lasted = await clock.until('it is let go', () => world.listener.connections === 0)
    assert.ok(lasted >= short.drainSilenceMs && lasted < 250, `it stayed ${lasted} ms`)
  })

  test('an answered one that keeps its side open is let go', async () => {
    const clock = new HandClock()
    await using world = await startV2(openMemory(), { limits: short, nowMs: clock.nowMs })
    const alice = await registered(world.storage, 'alice')
    using peer = await Peer.dial(world.port)
    peer.write(listRequest(alice))
    await peer.until(7)
    const lasted = await clock.until('it is let go', () => world.listener.connections === 0)
    assert.ok(lasted >= short.goodbyeMs && lasted < 250, `it stayed ${lasted} ms`)
  })

  test('a reader that takes a little now and then does not hold a fetch beyond what its size allows', async () => {
    const clock = new HandClock({ stepMs: 100 })
    const limits = { settleMs: 20, writeSilenceMs: 10_000, slowestBytesPerMs: 10_000 }
    await using world = await startV2(openMemory(), { limits, nowMs: clock.nowMs })
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    for (let i = 0; i < 40; i++) await stored(world.storage, alice, bob, patterned(1_000_000, i))
    using peer = await Peer.dial(world.port)
    peer.write(fetchRequest(bob))
    await peer.until(1)
    peer.socket.pause()
    peer.socket.on('data', () => peer.socket.pause())
    const lasted = await clock.until('the fetch is broken off', () => {
      peer.socket.resume()
      return world.listener.connections === 0
    })
    assert.ok(lasted >= 14_000 && lasted < 16_000, `it lasted ${lasted} ms instead of 10,000 + 4,000`)
    assert.equal(waitingFor(world, bob), 40)
  })
})

test('G04 an upload that is announced as 1 GiB, cut, slow, reset or empty leaves no file, socket or descriptor', async () => {
  await using folder = await temporaryFolder()
  const clock = new HandClock({ stepMs: 50 })
  const limits = { settleMs: 20 }
  await using world = await startV2(await openSqliteIn(folder.path), { limits, nowMs: clock.nowMs })
  const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
  const descriptors = async (): Promise<number> => (await readdir('/proc/self/fd')).length
  const files = async (): Promise<string[]> =>
    (await readdir(path.join(folder.path, 'content'), { recursive: true })).filter((name) => name !== 'incoming')
  await stored(world.storage, alice, alice, patterned(100_000))
  assert.equal((await fetchAll(world, alice)).length, 1) // whatever the storage opens once is open now
  await eventually('it is removed', () => waitingFor(world, alice) === 0)
  await quiet(world)
  const [fileCount, descriptorCount] = [(await files()).length, await descriptors()]
  const large = sendRequest({ from: alice.login, to: bob.id, type: 4, contentBytes: 2 ** 30 - 21 })
  const uploads = Array.from({ length: 40 }, async (_, i) => {
    using peer = await Peer.dial(world.port)
    peer.write(large)
    if (i % 4 > 0) peer.write(patterned(i % 8 === 1 ? 3_000_000 : 100_000, i))
    await sleep(i)
    if (i % 4 === 1) peer.socket.end()
    if (i % 4 === 2) peer.socket.resetAndDestroy()
    else assert.deepEqual((await peer.finish()).answer.toString('hex'), refusal)
  })
  await clock.during(Promise.all(uploads))
  await quiet(world)
  assert.equal(world.storage.figures().waitingMessages, 0)
  let now = { files: -1, descriptors: -1 }
  for (let tries = 0; tries < 100 && now.descriptors !== descriptorCount; tries++) {
    await sleep(20)
    now = { files: (await files()).length, descriptors: await descriptors() }
  }
  assert.deepEqual(now, { files: fileCount, descriptors: descriptorCount })
})

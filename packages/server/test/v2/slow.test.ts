import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { suite, test } from 'node:test'
import { openMemory } from '../../src/storage/memory.ts'
import { openSqliteIn, registered, startV2, temporaryFolder } from '../world.ts'
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
    await using world = await startV2(openMemory(), { limits: short })
    const alice = await registered(world.storage, 'alice')
    using peer = await Peer.dial(world.port)
    const began = performance.now()
    for (const byte of listRequest(alice)) {
      if (peer.got > 0) break
      peer.write(Uint8Array.of(byte))
      await sleep(20)
    }
    const { answer, clean } = await peer.finish()
    assert.deepEqual({ answer: answer.toString('hex'), clean }, { answer: refusal, clean: true })
    assert.ok(performance.now() - began < 22 * 20)
    assert.deepEqual(reasonsOf(world), ['timeout'])
  })

  test('one byte at a time does not extend the time of a content, however large, beyond what its size allows', async () => {
    await using world = await startV2(openMemory(), { limits: { ...short, contentMs: 200, slowestBytesPerMs: 1000 } })
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    using peer = await Peer.dial(world.port)
    peer.write(sendRequest({ from: alice.login, to: bob.id, contentBytes: 100_000 }))
    const began = performance.now()
    while (peer.got === 0) {
      peer.write(Uint8Array.of(1))
      await sleep(10)
    }
    const lasted = performance.now() - began
    assert.ok(lasted > 280 && lasted < 5000, `it lasted ${lasted} ms instead of 200 + 100`)
    assert.equal((await peer.finish()).answer.toString('hex'), refusal)
  })

  test('six hundred that say nothing, half of something or never read are ended, and others do not notice', async () => {
    const limits = { ...short, headMs: 4000, silenceMs: 4000, writeSilenceMs: 4000, closeMs: 4000 }
    await using world = await startV2(openMemory(), { limits })
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
    const times: number[] = []
    for (let i = 0; i < 60; i++) {
      const began = performance.now()
      const text = sendRequest({ from: alice.login, to: carol.id, content: patterned(300, i) })
      assert.equal((await exchange(world.port, text)).answer.length, 27)
      times.push(performance.now() - began)
    }
    assert.ok(Math.max(...times) < limits.headMs, 'nobody waits for the end of the crowd')
    assert.equal((await fetchAll(world, carol)).length, 60)
    for (const peer of crowd) peer.socket.end()
    await quiet(world, 20_000)
    assert.equal(waitingFor(world, bob), 1)
    for (const peer of crowd) peer.socket.destroy()
  })

  test('a refused one that keeps its side open is let go after the silence', async () => {
    await using world = await startV2(openMemory(), { limits: short })
    using peer = await Peer.dial(world.port)
    peer.write(header(new Uint8Array(16), 99, 0))
    await peer.until(7)
    const began = performance.now()
    await quiet(world)
    const lasted = performance.now() - began
    assert.ok(lasted > 100 && lasted < 5000, `it stayed ${lasted} ms`)
  })

  test('an answered one that keeps its side open is let go', async () => {
    await using world = await startV2(openMemory(), { limits: short })
    const alice = await registered(world.storage, 'alice')
    using peer = await Peer.dial(world.port)
    peer.write(listRequest(alice))
    await peer.until(7)
    const began = performance.now()
    await quiet(world)
    assert.ok(performance.now() - began > short.goodbyeMs - 50)
  })

  test('a reader that takes a little now and then does not hold a fetch beyond what its size allows', async () => {
    const limits = { ...short, writeSilenceMs: 300, slowestBytesPerMs: 100_000 }
    await using world = await startV2(openMemory(), { limits })
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    for (let i = 0; i < 40; i++) await stored(world.storage, alice, bob, patterned(1_000_000, i))
    using peer = await Peer.dial(world.port)
    peer.write(fetchRequest(bob))
    peer.socket.on('data', () => {
      peer.socket.pause()
      setTimeout(() => peer.socket.resume(), 10)
    })
    await peer.until(1)
    const began = performance.now()
    await quiet(world)
    const lasted = performance.now() - began
    assert.ok(lasted > 600 && lasted < 5000, `it lasted ${lasted} ms instead of 300 + 400`)
    assert.equal(waitingFor(world, bob), 40)
  })
})

test('G04 an upload that is announced as 1 GiB, cut, slow, reset or empty leaves no file, socket or descriptor', async () => {
  await using folder = await temporaryFolder()
  await using world = await startV2(await openSqliteIn(folder.path), { limits: short })
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
  await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      using peer = await Peer.dial(world.port)
      peer.write(large)
      if (i % 4 > 0) peer.write(patterned(i % 8 === 1 ? 3_000_000 : 100_000, i))
      await sleep(i)
      if (i % 4 === 1) peer.socket.end()
      if (i % 4 === 2) peer.socket.resetAndDestroy()
      else assert.deepEqual((await peer.finish()).answer.toString('hex'), refusal)
    }),
  )
  await quiet(world)
  assert.equal(world.storage.figures().waitingMessages, 0)
  let now = { files: -1, descriptors: -1 }
  for (let tries = 0; tries < 100 && now.descriptors !== descriptorCount; tries++) {
    await sleep(20)
    now = { files: (await files()).length, descriptors: await descriptors() }
  }
  assert.deepEqual(now, { files: fileCount, descriptors: descriptorCount })
})

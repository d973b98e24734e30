import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { openMemory } from '../../src/storage/memory.ts'
import { listenV2 } from '../../src/v2/listener.ts'
import { isLoopback } from '../../src/v2/loopback.ts'
import { newId, registered, startV2, type V2World } from '../world.ts'
import { HandClock } from './handclock.ts'
import {
  codes,
  eventually,
  exchange,
  fetchAll,
  fetchRequest,
  header,
  listRequest,
  noId,
  Peer,
  patterned,
  quiet,
  reasonsOf,
  refusal,
  registerRequest,
  sendRequest,
  short,
  sleep,
  stored,
  waitingFor,
  wrapped,
} from './peer.ts'

/** The deadlines are tested where what they bound is: edges, slow, fetch. */

const emptyList = '02e90300000000'

async function silent(world: V2World, count: number, localAddress?: string): Promise<Peer[]> {
  const before = world.listener.connections
  const peers = await Promise.all(
    Array.from({ length: count }, () => Peer.dial(world.port, localAddress === undefined ? {} : { localAddress })),
  )
  await eventually('they are all there', () => world.listener.connections === before + count)
  return peers
}

suite('I9 connections', () => {
  test('of one address are limited, and other addresses are not affected', async () => {
    const isLocal = (remote: string): boolean => remote === '127.0.0.3'
    await using world = await startV2(openMemory(), { isLocal, limits: { connectionsPerAddressMax: 3 } })
    const alice = await registered(world.storage, 'alice')
    const crowd = await silent(world, 3, '127.0.0.2')
    using fourth = await Peer.dial(world.port, { localAddress: '127.0.0.2' })
    fourth.write(listRequest(alice))
    const { answer, clean } = await fourth.finish()
    assert.deepEqual({ answer: answer.toString('hex'), clean }, { answer: refusal, clean: true })
    assert.deepEqual(reasonsOf(world), ['busy'])
    for (const localAddress of ['127.0.0.1', '127.0.0.4']) {
      using other = await Peer.dial(world.port, { localAddress })
      other.write(listRequest(alice))
      assert.equal((await other.finish()).answer.toString('hex'), emptyList)
    }
    await eventually('the others are gone', () => world.listener.connections === 3)
    await silent(world, 5, '127.0.0.3') // as if on this machine: not counted
    crowd[0]?.socket.destroy()
    await eventually('one is gone', () => world.listener.connections === 7)
    using again = await Peer.dial(world.port, { localAddress: '127.0.0.2' })
    again.write(listRequest(alice))
    assert.equal((await again.finish()).answer.toString('hex'), emptyList)
  })

  test('are limited in all, also from this machine, and the refusal arrives although a request is under way', async () => {
    await using world = await startV2(openMemory(), { limits: { connectionsMax: 4 } })
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    await silent(world, 4)
    const large = sendRequest({ from: alice.login, to: bob.id, content: patterned(2_000_000) })
    const { answer, clean } = await exchange(world.port, large)
    assert.deepEqual({ answer: answer.toString('hex'), clean }, { answer: refusal, clean: true })
    assert.equal(world.listener.connections, 4)
  })

  test('over a limit are told so, a few at a time; further ones are closed without a word', async () => {
    const limits = { connectionsMax: 1, refusalsAtOnceMax: 3, goodbyeMs: 1000 }
    await using world = await startV2(openMemory(), { limits })
    await silent(world, 1)
    const over: Peer[] = []
    for (let i = 0; i < 5; i++) {
      const peer = await Peer.dial(world.port)
      over.push(peer)
      await peer.until(Number.POSITIVE_INFINITY)
    }
    assert.deepEqual(
      over.map(({ got }) => got),
      [7, 7, 7, 0, 0],
    )
    // those that were told are let go, although they did not close, and then others are told
    for (let told = ''; told !== refusal; ) {
      using next = await Peer.dial(world.port)
      told = (await next.finish()).answer.toString('hex')
      assert.ok(told === '' || told === refusal)
    }
  })

  test('of this machine are recognised by their address', () => {
    for (const address of ['127.0.0.1', '127.255.0.9', '::1', '::ffff:127.0.0.1']) assert.ok(isLoopback(address))
    for (const address of ['10.0.0.1', '::ffff:10.127.0.1', '2001:db8::1', '128.0.0.1', '1127.0.0.1'])
      assert.equal(isLoopback(address), false)
  })
})

suite('I9 a refused peer that keeps sending', () => {
  const refusedAt = async (world: V2World): Promise<Peer> => {
    const peer = await Peer.dial(world.port)
    peer.write(header(newId(), codes.send, 2 ** 30))
    await peer.until(7)
    return peer
  }

  test('is cut after so many bytes', async () => {
    await using world = await startV2(openMemory(), { limits: { drainBytesMax: 300_000 } })
    using peer = await refusedAt(world)
    peer.write(Buffer.alloc(250_000))
    await sleep(50)
    assert.equal(world.listener.connections, 1)
    peer.write(Buffer.alloc(250_000))
    await quiet(world)
    assert.equal(peer.answer.toString('hex'), refusal)
  })

  test('is cut after so much time, however busy it is', async () => {
    const clock = new HandClock()
    const limits = { ...short, drainSilenceMs: 100, drainMs: 300 }
    await using world = await startV2(openMemory(), { limits, nowMs: clock.nowMs })
    using peer = await refusedAt(world)
    const lasted = await clock.until('it is cut', () => {
      peer.write(Buffer.alloc(100))
      return world.listener.connections === 0
    })
    assert.ok(lasted >= 300 && lasted < 400, `it was drained for ${lasted} ms`)
  })

  test('is cut after so much time, whatever it was refused for', async () => {
    const clock = new HandClock()
    await using world = await startV2(openMemory(), { limits: short, nowMs: clock.nowMs })
    const alice = await registered(world.storage, 'alice')
    const starts = [
      header(noId, 99, 0),
      registerRequest('x'),
      listRequest(alice),
      sendRequest({ from: alice.id, to: newId() }),
    ]
    const peers = await Promise.all(starts.map(() => Peer.dial(world.port)))
    peers.forEach((peer, i) => {
      peer.write(starts[i] as Buffer)
    })
    await Promise.all(peers.map((peer) => peer.until(7)))
    const lasted = await clock.until('all of them are cut', () => world.listener.connections === 0)
    assert.ok(lasted >= short.goodbyeMs && lasted < 250, `they stayed ${lasted} ms`)
    for (const peer of peers) peer.socket.destroy()
  })
})

test('I9 deliveries share the budget of transfers, and empty mailboxes need none of it', async () => {
  await using world = await startV2(openMemory(), { limits: { transfersMax: 1 } })
  const [alice, bob, carol] = [
    await registered(world.storage, 'alice'),
    await registered(world.storage, 'bob'),
    await registered(world.storage, 'carol'),
  ]
  await stored(world.storage, alice, alice, patterned(10))
  await stored(world.storage, alice, bob, patterned(10_000_000))
  using slow = await Peer.dial(world.port)
  slow.write(fetchRequest(bob))
  await slow.until(1)
  slow.socket.pause()
  assert.equal((await exchange(world.port, fetchRequest(alice))).answer.toString('hex'), refusal)
  assert.equal((await fetchAll(world, carol)).length, 0)
  assert.deepEqual(reasonsOf(world), ['busy'])
  slow.socket.resume()
  await slow.finish()
  await eventually('it is removed', () => waitingFor(world, bob) === 0)
  assert.equal((await fetchAll(world, alice)).length, 1)
})

suite('a stop', () => {
  test('tells those who have said nothing, finishes what is under way, and takes nobody new', async () => {
    const world = await startV2(openMemory())
    const [alice, bob] = [await registered(world.storage, 'alice'), await registered(world.storage, 'bob')]
    await stored(world.storage, alice, alice, patterned(10_000_000))
    const [idle] = (await silent(world, 1)) as [Peer]
    const upload = await Peer.dial(world.port)
    upload.write(sendRequest({ from: alice.login, to: bob.id, contentBytes: 200_000 }))
    const fetch = await Peer.dial(world.port)
    fetch.write(fetchRequest(alice))
    await fetch.until(100)
    fetch.socket.pause()
    await sleep(20)
    const stopped = world.listener.stop(3_600_000)
    assert.equal((await idle.finish()).answer.toString('hex'), refusal)
    await assert.rejects(Peer.dial(world.port), { code: 'ECONNREFUSED' })
    upload.write(patterned(200_000))
    assert.equal((await upload.finish()).answer.length, 27)
    fetch.socket.resume()
    assert.equal((await fetch.finish()).answer.length, 10_000_032)
    await stopped
    assert.deepEqual([waitingFor(world, alice), waitingFor(world, bob)], [0, 1])
    assert.deepEqual(reasonsOf(world), ['stopping'])
  })

  test('K09 ends within its grace, whoever hangs on, and those turned away as well', async () => {
    const world = await startV2(openMemory(), { limits: { connectionsMax: 4 } })
    const alice = await registered(world.storage, 'alice')
    await stored(world.storage, alice, alice, patterned(10_000_000))
    const crowd = await silent(world, 4)
    crowd[0]?.write(listRequest(alice).subarray(0, 5))
    crowd[1]?.socket.pause()
    crowd[1]?.write(fetchRequest(alice))
    crowd[2]?.write(sendRequest({ from: alice.login, to: alice.id, contentBytes: 1000 }))
    await Peer.dial(world.port)
    await sleep(50)
    const began = performance.now()
    await world.listener.stop(200)
    const lasted = performance.now() - began
    assert.ok(lasted > 150 && lasted < 5000, `it took ${lasted} ms`)
    assert.equal(world.listener.connections, 0)
    assert.equal(waitingFor(world, alice), 1)
  })

  test('that is asked for twice ends once, and can be hurried', async () => {
    const world = await startV2(openMemory())
    const [peer] = (await silent(world, 1)) as [Peer]
    peer.write(noId.subarray(0, 5))
    await sleep(20)
    let over = false
    const first = world.listener.stop(30_000).then(() => {
      over = true
    })
    const second = world.listener.stop(0)
    await sleep(50)
    assert.equal(over, false)
    world.listener.endAll()
    await Promise.all([first, second])
  })

  test('waits until what was delivered is forgotten', async () => {
    const memory = openMemory()
    const discarding = Promise.withResolvers<void>()
    let asked = false
    const slow = wrapped(memory, {
      async discard(fetched) {
        asked = true
        await discarding.promise
        await memory.discard(fetched)
      },
    })
    const world = await startV2(slow)
    const alice = await registered(memory, 'alice')
    await stored(memory, alice, alice, patterned(10))
    await fetchAll(world, alice)
    await eventually('the removal was asked for', () => asked)
    let over = false
    const stopped = world.listener.stop(0).then(() => {
      over = true
    })
    await sleep(50)
    assert.equal(over, false)
    discarding.resolve()
    await stopped
    assert.equal(waitingFor(world, alice), 0)
  })

  test('of a listener whose port is taken leaves nothing behind: it never listened', async () => {
    await using world = await startV2(openMemory())
    const log = { refused() {}, fetched() {} }
    const again = listenV2({
      storage: world.storage,
      host: '127.0.0.1',
      port: world.port,
      nowMs: () => performance.now(),
      newClientId: newId,
      log,
    })
    await assert.rejects(again, { code: 'EADDRINUSE' })
  })
})

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { encode } from '@messageu/protocol'
import {
  answers,
  contexts,
  type DeviceId,
  type Hash,
  type Incarnation,
  limits,
  type Nonce,
  operations,
  type PublicKey,
  Refusal,
  RefusedError,
} from '@messageu/protocol/v3'
import { MemoryArchive } from '../../src/storage/memoryarchive.ts'
import { openIdentity } from '../../src/v3/identity.ts'
import { judgeProof } from '../../src/v3/prove.ts'
import { type Peer, People, type ProofChange, proofOf, random, startListening } from './listening.ts'

const proveCode = operations.prove.code

suite('a session is proved', () => {
  test('by the request key of a listed device, and the server proves itself in turn', async () => {
    await using world = await startListening()
    const alice = world.people.add({ isAdmin: true })
    using peer = await world.connect()
    const opened = await peer.prove(alice)
    assert.deepEqual(Buffer.from(opened.account), Buffer.from(alice.account.id))
    assert.equal(opened.isAdmin, true)
    assert.equal(opened.listVersion, 1)
    assert.equal(opened.sendNumber, 0)
    assert.equal(world.sessions.ofDevice(alice.device.number), world.attached[0])
  })

  test('under the names that the server has on its own machine, with and without upper case', async () => {
    await using world = await startListening()
    const alice = world.people.add()
    using peer = await world.connect({
      url: `ws://localhost:${world.port}/v3`,
      headers: { host: `LocalHost:${world.port}` },
    })
    await peer.prove(alice, { host: `localhost:${world.port}` })
  })

  test('C03 with a nonce that no other connection has', async () => {
    await using world = await startListening()
    const hellos = await Promise.all(
      Array.from({ length: 5 }, async () => {
        using peer = await world.connect()
        return peer.hello()
      }),
    )
    assert.equal(new Set(hellos.map(({ nonce }) => Buffer.from(nonce).toString('hex'))).size, hellos.length)
    for (const { incarnation } of hellos) assert.deepEqual(incarnation, world.identity.incarnation)
  })
})

suite('C01 a proof is refused in the same words', () => {
  const hash = random(32) as Hash
  const cases: Record<string, ProofChange> = {
    'by another key': { context: contexts.serverProof },
    'for another host': { host: 'example.org' },
    'for another host than was signed': { signed: { host: 'example.org' } },
    'with the hash of a certificate where there is none': { certificate: hash },
    'with another certificate than was signed': { signed: { certificate: hash } },
    'for another server': { heard: { serverKey: random(32) as PublicKey } },
    'for another life of the server': { heard: { incarnation: random(16) as Incarnation } },
    'for another nonce of the server': { heard: { nonce: random(32) as Nonce } },
    'for another nonce of the client': { signed: { clientNonce: random(32) as Nonce } },
    'for another device than was signed': { signed: { device: random(16) as DeviceId } },
    'by a device that does not exist': { claimed: { device: random(16) as DeviceId } },
  }
  for (const [what, change] of Object.entries(cases))
    test(`${what}, and the connection ends`, async () => {
      await using world = await startListening()
      const alice = world.people.add()
      using peer = await world.connect()
      await assertUnproved(peer, alice, change)
      assert.equal(world.sessions.count, 0)
      assert.deepEqual(world.attached, [])
    })

  test("by another device's key", async () => {
    await using world = await startListening()
    const [alice, mallory] = [world.people.add(), world.people.add()]
    using peer = await world.connect()
    await assertUnproved(peer, { device: alice.device, requestKey: mallory.requestKey }, {})
  })

  test('by a device that was delisted, or whose account is disabled', async () => {
    await using world = await startListening()
    const [alice, bob] = [world.people.add(), world.people.add()]
    world.people.delist(alice)
    world.people.disable(bob)
    for (const known of [alice, bob]) {
      using peer = await world.connect()
      await assertUnproved(peer, known, {})
    }
  })

  test('by a device that is delisted while its proof is judged', async () => {
    const archive = new MemoryArchive({ nowMs: Date.now })
    const asked = Promise.withResolvers<void>()
    const delisted = Promise.withResolvers<void>()
    await using world = await startListening({
      archive: {
        position: 0,
        step: (step) => archive.step(step),
        sends: (device) => archive.sends(device),
        async acknowledged() {
          asked.resolve()
          await delisted.promise
          return 0
        },
      },
    })
    const alice = world.people.add()
    using peer = await world.connect()
    const proving = peer.prove(alice)
    await asked.promise
    alice.device.isListed = false
    delisted.resolve()
    await assert.rejects(proving, { reason: 'unproved' })
    assert.equal(world.sessions.count, 0)
    assert.deepEqual(world.attached, [])
  })

  test('before the server signs anything, or looks at what the device has', async () => {
    const people = new People()
    const known = people.add()
    const identity = await openIdentity(new MemoryArchive({ nowMs: Date.now }), random)
    const nonce = random(32) as Nonce
    const { publicKey: serverKey, incarnation } = identity
    const hello = { ...helloOf(nonce), serverKey, incarnation }
    const { proof } = proofOf(known, hello, { host: 'here' })
    const judge = () =>
      judgeProof(
        proof,
        { hello, host: 'here', certificate: { kind: 'none' } },
        { directory: people.directory, identity },
      )
    assert.equal((await judge()).device, known.device)
    people.delist(known)
    await assert.rejects(judge(), { reason: 'unproved' })
    const disabled = people.add()
    people.disable(disabled)
    const { proof: other } = proofOf(disabled, hello, { host: 'here' })
    const place = { hello, host: 'here', certificate: { kind: 'none' } } as const
    await assert.rejects(judgeProof(other, place, { directory: people.directory, identity }), { reason: 'unproved' })
  })

  async function assertUnproved(peer: Peer, known: Parameters<typeof proofOf>[0], change: ProofChange): Promise<void> {
    const hello = await peer.hello()
    const { proof } = proofOf(known, hello, { host: peer.url.host, ...change })
    peer.send({ code: proveCode, request: 7, body: encode(operations.prove.request, proof) })
    const answer = await peer.frame(({ request }) => request === 7)
    assert.equal(answer.code, answers.refused)
    const words = {
      reason: 'unproved',
      retryAfterMs: 0,
      explanation: 'the proof does not hold',
      current: { kind: 'nothing', body: undefined },
    } as const
    assert.deepEqual(Buffer.from(answer.body), Buffer.from(encode(Refusal, words)))
    assert.deepEqual(await peer.closed, { code: 1008, why: 'unproved' })
  }
})

suite('C03 a proof works once', () => {
  test('not on another connection', async () => {
    await using world = await startListening()
    const alice = world.people.add()
    using first = await world.connect()
    const { proof } = proofOf(alice, await first.hello(), { host: first.url.host })
    await first.ask('prove', proof)
    using second = await world.connect()
    await second.hello()
    await assert.rejects(second.ask('prove', proof), { reason: 'unproved' })
    assert.equal(world.sessions.count, 1, 'and the session that it was made for goes on')
  })

  test('not again on its own connection, at once or later', async () => {
    await using world = await startListening()
    const alice = world.people.add()
    using peer = await world.connect()
    const { proof } = proofOf(alice, await peer.hello(), { host: peer.url.host })
    const body = encode(operations.prove.request, proof)
    peer.send({ code: proveCode, request: 1, body }, { code: proveCode, request: 2, body })
    await assert.rejects(peer.answer(2), { reason: 'not-permitted' })
    await peer.answer(1)
    await assert.rejects(peer.ask('prove', proof), { reason: 'not-permitted' })
    assert.equal(world.attached.length, 1)
  })

  for (const [what, heard] of Object.entries({
    'newer minor versions': { minorMax: limits.minorMax + 1 },
    'older minor versions': { minorMin: limits.minorMin + 1 },
    'other limits': { sealedBytesMax: limits.sealedBytesMax - 1 },
  }))
    test(`W09 and not where somebody in between made ${what} of the offer`, async () => {
      await using world = await startListening()
      using peer = await world.connect()
      await assert.rejects(peer.prove(world.people.add(), { heard }), { reason: 'unproved' })
    })

  test('W09 and only for a minor version that both sides know', async () => {
    await using world = await startListening()
    const alice = world.people.add()
    using peer = await world.connect()
    const minor = limits.minorMax + 1
    await assert.rejects(peer.prove(alice, { signed: { minor }, claimed: { minor } }), {
      reason: 'unsupported-version',
    })
    using other = await world.connect()
    await assert.rejects(other.prove(alice, { claimed: { minor } }), RefusedError)
  })
})

suite('a device has one session', () => {
  test('the newer one wins, and the older one is told', async () => {
    await using world = await startListening()
    const alice = world.people.add()
    using older = await world.session(alice)
    using newer = await world.session(alice)
    assert.deepEqual(await older.notice(), { kind: 'superseded', body: undefined })
    assert.deepEqual(await older.closed, { code: 1000, why: 'superseded' })
    assert.equal(world.sessions.count, 1)
    assert.equal(world.sessions.ofDevice(alice.device.number), world.attached[1])
    assert.deepEqual(world.detached, [world.attached[0]])
    assert.equal(newer.socket.readyState, newer.socket.OPEN)
  })

  test('two devices of two accounts do not disturb each other', async () => {
    await using world = await startListening()
    using _alice = await world.session(world.people.add())
    using _bob = await world.session(world.people.add())
    assert.equal(world.sessions.count, 2)
  })

  test('which is gone when its connection is', async () => {
    await using world = await startListening()
    using peer = await world.session(world.people.add())
    const [session] = world.attached
    peer.socket.terminate()
    while (world.sessions.count > 0) await sleep(1)
    assert.deepEqual(world.detached, [session])
    assert.equal(session?.isOpen, false)
  })
})

suite('a session whose deliveries cannot be read', () => {
  for (const isGone of [false, true])
    test(isGone ? 'is no failure once it has ended' : 'ends, and the operator is told', async () => {
      const reading = Promise.withResolvers<void>()
      await using world = await startListening({ attach: () => reading.promise })
      using peer = await world.session(world.people.add())
      if (isGone) {
        peer.socket.terminate()
        while (world.sessions.count > 0) await sleep(1)
      }
      reading.reject(new Error('the storage is closed'))
      if (!isGone) assert.deepEqual(await peer.closed, { code: 1011, why: 'internal' })
      await sleep(1)
      assert.equal(
        world.log.some((line) => line.startsWith('failed attach')),
        !isGone,
      )
    })
})

suite('who loses the right to a session loses the session', () => {
  test('C02 when the device is delisted', async () => {
    await using world = await startListening()
    const alice = world.people.add()
    using peer = await world.session(alice)
    world.people.delist(alice)
    assert.deepEqual(await peer.notice(), { kind: 'delisted', body: undefined })
    assert.deepEqual(await peer.closed, { code: 1008, why: 'delisted' })
    assert.equal(world.sessions.count, 0)
  })

  test('when the account is disabled', async () => {
    await using world = await startListening()
    const [alice, bob] = [world.people.add(), world.people.add()]
    using peer = await world.session(alice)
    using other = await world.session(bob)
    world.people.disable(alice)
    assert.deepEqual(await peer.closed, { code: 1008, why: 'delisted' })
    assert.equal(other.socket.readyState, other.socket.OPEN)
  })
})

function helloOf(nonce: Nonce) {
  const { minorMin, minorMax, frameBytesMax, sealedBytesMax, outstandingMax } = limits
  return { minorMin, minorMax, frameBytesMax, sealedBytesMax, outstandingMax, nonce }
}

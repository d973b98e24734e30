import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { decode } from '@messageu/protocol'
import {
  answers,
  events,
  frameHeadBytes,
  Hash,
  PublicKey,
  RefusedError,
  readFrames,
  writeFrame,
} from '@messageu/protocol/v3'
import { ClientError } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import type { Phase } from '../src/phase.ts'
import { settled, until } from './fake-clock.ts'
import { done, type FakeSession, noSignature, requested, someConversation } from './fake-server.ts'
import { never, type Person, TestWorld } from './world.ts'

const nobody = decode(PublicKey, new Uint8Array(PublicKey.max).fill(9))

function phases({ events }: Person): Phase[] {
  return events.flatMap((event) => (event.kind === 'phase' ? [event.phase] : []))
}

/** The last loss that was told. */
function lastLoss(person: Person): Extract<Phase, { phase: 'lost' }> {
  const loss = phases(person).findLast((phase) => phase.phase === 'lost')
  assert.ok(loss?.phase === 'lost', 'nothing was lost')
  return loss
}

async function openWorld() {
  const world = await TestWorld.start()
  const alice = await world.person('alice')
  const session = await world.connect(alice)
  return { world, alice, session, server: world.server, clock: world.clock }
}

describe('proving a session', () => {
  test('S02, N08: a server with another key than the link gets not one byte', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.hello = { serverKey: nobody }
    await assert.rejects(world.connect(alice), { reason: 'untrusted-server' })
    assert.deepEqual(world.server.session.messages, [])
  })

  test('S02: a server that cannot sign for its key is not believed', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.opened = { signature: noSignature }
    await assert.rejects(world.connect(alice), { reason: 'untrusted-server' })
    assert.equal(world.server.session.isOpen, false)
  })

  test('a relay in the middle gets no session: the proof names the certificate and the host as dialled', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.certificate = decode(Hash, new Uint8Array(randomBytes(Hash.max)))
    await using _session = await world.connect(alice)
    const proof = requested('prove', world.server.requests.findLast(({ name }) => name === 'prove')?.body ?? never0)
    assert.deepEqual(proof.certificate, world.server.certificate)
    assert.equal(proof.host, 'server.example')
  })

  test('W09: a server without a common minor version is refused, and not tried again', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.hello = { minorMin: 5, minorMax: 9 }
    await assert.rejects(world.connect(alice, { patience: 'for-ever' }), { reason: 'unsupported-version' })
  })

  test('a device that the server does not know is told so, and does not try again', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.lists.clear()
    await assert.rejects(world.connect(alice, { patience: 'for-ever' }), { reason: 'unproved' })
    assert.equal(world.clock.nextMs, undefined, 'nothing is planned')
  })

  test('a session of another account is none', async () => {
    const world = await TestWorld.start()
    const [alice, bob] = [await world.person('alice'), await world.person('bob')]
    world.server.opened = { account: bob.account.identity.account }
    await assert.rejects(world.connect(alice), { reason: 'bad-answer' })
  })

  test('S15: a server whose clock is wrong by years opens a session like any other', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.opened = { at: 2 ** 52 }
    world.clock.jump(-20 * 365 * 86_400_000)
    await using session = await world.connect(alice)
    assert.equal(session.phase.phase, 'open')
  })

  test('a server that greets nobody, or leaves a proof without an answer, is given up in time', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.lie = (name) => (name === 'prove' ? { kind: 'silence' } : undefined)
    const attempt = world.connect(alice)
    attempt.catch(() => {})
    await until(() => world.server.requests.filter(({ name }) => name === 'prove').length === 2, 'the proof is sent')
    await world.clock.pass(limits.provingMs)
    await assert.rejects(attempt, { reason: 'lost' })
  })
})

describe('coming back', () => {
  test('N01: what was lost comes back by itself, and is told', async () => {
    const { server, clock, alice, session } = await openWorld()
    await using _session = session
    server.session.cut()
    await settled()
    assert.equal(session.phase.phase, 'lost')
    await clock.pass(limits.backoffMinMs)
    await until(() => session.phase.phase === 'open', 'a session')
    assert.deepEqual(
      phases(alice).map(({ phase }) => phase),
      ['greeted', 'open', 'lost', 'connecting', 'greeted', 'open'],
    )
  })

  test('N05: those who are lost together do not come back together, and nobody waits for more than a minute', async () => {
    const { server, clock, alice, session } = await openWorld()
    await using _session = session
    server.isReachable = false
    server.session.cut()
    await settled()
    const delays: number[] = []
    for (let attempt = 0; attempt < 40; attempt++) {
      const { delayMs } = lastLoss(alice)
      delays.push(delayMs)
      await clock.pass(delayMs)
    }
    const late = delays.slice(8)
    assert.ok(delays.every((ms, i) => ms <= Math.min(limits.backoffMaxMs, limits.backoffMinMs * 2 ** i)))
    assert.ok(Math.max(...late) - Math.min(...late) > limits.backoffMaxMs / 4, 'they are spread')
    server.isReachable = true
    await clock.pass(lastLoss(alice).delayMs)
    await until(() => session.phase.phase === 'open', 'a session')
  })

  test('a server that goes down says when to come back', async () => {
    const { server, alice, session } = await openWorld()
    await using _session = session
    server.session.notice({ kind: 'stopping', body: { retryAfterMs: 7_000 } })
    await settled()
    const { delayMs } = lastLoss(alice)
    assert.ok(delayMs >= 7_000 && delayMs <= 8_000, `${delayMs} ms`)
  })

  test('a server cannot keep us away for long', async () => {
    const { server, alice, session } = await openWorld()
    await using _session = session
    server.session.notice({ kind: 'stopping', body: { retryAfterMs: 0xffff_ffff } })
    await settled()
    assert.ok(lastLoss(alice).delayMs <= limits.retryAfterMaxMs + limits.backoffMaxMs)
  })

  test('a proof that is refused for a while is tried again, not before the server wants it', async () => {
    const { server, alice, session, clock } = await openWorld()
    await using _session = session
    const limited = new RefusedError('limited', 'too many', { retryAfterMs: 5_000 })
    server.lie = (name) => (name === 'prove' ? { kind: 'refuse', error: limited } : undefined)
    server.session.cut()
    await settled()
    await clock.pass(limits.backoffMinMs)
    await until(() => phases(alice).filter(({ phase }) => phase === 'lost').length >= 2, 'the second loss')
    assert.ok(lastLoss(alice).delayMs >= 5_000)
    server.lie = undefined
    await clock.pass(lastLoss(alice).delayMs)
    await until(() => session.phase.phase === 'open', 'a session')
  })

  test('a session that lasted makes the next attempt come soon; one that ended at once does not', async () => {
    const { server, alice, session, clock } = await openWorld()
    await using _session = session
    for (let round = 0; round < 6; round++) {
      server.session.cut()
      await settled()
      await clock.pass(lastLoss(alice).delayMs)
      await until(() => session.phase.phase === 'open', 'a session')
    }
    assert.equal(session.phase.phase === 'open' && session.phase.failures, 6)
    await clock.pass(limits.steadyMs)
    server.session.cut()
    await settled()
    assert.equal(lastLoss(alice).failures, 1)
    assert.ok(lastLoss(alice).delayMs <= limits.backoffMinMs)
  })

  test('N02: a server that has vanished without a word is noticed within two heartbeats', async () => {
    const { server, session, clock } = await openWorld()
    await using _session = session
    server.lie = () => ({ kind: 'silence' })
    await clock.pass(limits.silentMs - 1)
    assert.equal(session.phase.phase, 'open')
    await clock.pass(1)
    assert.equal(session.phase.phase, 'lost')
  })

  test('a quiet server is asked for a sign, and kept when it gives one', async () => {
    const { server, session, clock } = await openWorld()
    await using _session = session
    const before = server.requests.length
    await clock.pass(10 * limits.silentMs)
    assert.equal(session.phase.phase, 'open')
    assert.ok(server.requests.length - before >= 10, 'it was asked')
  })

  test('a server that gives signs but no answer to one request is left', async () => {
    const { server, session, clock } = await openWorld()
    await using _session = session
    server.lie = (name) => (name === 'people' ? { kind: 'silence' } : undefined)
    const asked = session.people({ signal: AbortSignal.timeout(60_000) }).next()
    asked.catch(() => {})
    for (let half = 0; half < 12 && session.phase.phase === 'open'; half++) {
      await clock.pass(limits.quietMs / 2)
      server.session.notice({ kind: 'key-packages-low', body: { singleUse: 1, hasLastResort: true } })
    }
    assert.equal(session.phase.phase, 'lost')
  })

  test('a newer session of the same device ends this one for good, and says so', async () => {
    const { server, session, clock } = await openWorld()
    await using _session = session
    server.session.notice({ kind: 'superseded', body: undefined })
    await settled()
    assert.equal(session.phase.phase === 'ended' && reasonOf(session.phase.why), 'superseded')
    assert.equal(clock.nextMs, undefined, 'nothing is planned')
    await assert.rejects(session.find('bob', { signal: never }), { reason: 'superseded' })
  })

  test('a device that was taken off its list is told, and does not come back', async () => {
    const { server, session, clock } = await openWorld()
    await using _session = session
    server.session.notice({ kind: 'delisted', body: undefined })
    server.session.cut()
    await settled()
    assert.equal(session.phase.phase === 'ended' && reasonOf(session.phase.why), 'delisted')
    assert.equal(clock.nextMs, undefined)
  })

  test('a stranger in front of a server that was right before is told of, and does not end the waiting', async () => {
    const { server, session, clock, alice } = await openWorld()
    await using _session = session
    server.hello = { serverKey: nobody }
    server.session.cut()
    await settled()
    await clock.pass(limits.backoffMinMs)
    await until(() => phases(alice).filter(({ phase }) => phase === 'lost').length >= 2, 'the second loss')
    assert.equal(reasonOf(lastLoss(alice).why), 'untrusted-server')
    assert.deepEqual(server.session.messages, [])
    server.hello = {}
    await clock.pass(lastLoss(alice).delayMs)
    await until(() => session.phase.phase === 'open', 'a session')
  })

  test('the first failure is told at once to whoever does not want to wait', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.isReachable = false
    await assert.rejects(world.connect(alice), { reason: 'unreachable' })
    const patient = world.connect(alice, { patience: 'for-ever' })
    await settled()
    world.server.isReachable = true
    await world.clock.pass(limits.backoffMinMs)
    await using session = await patient
    assert.equal(session.phase.phase, 'open')
  })

  test('a closed session leaves nothing behind', async () => {
    const { server, session, clock } = await openWorld()
    await session[Symbol.asyncDispose]()
    assert.equal(server.session.isOpen, false)
    assert.equal(clock.nextMs, undefined)
    await assert.rejects(session.requests({ signal: never }), { reason: 'ended' })
  })
})

describe('asking', () => {
  test('requests of one turn leave in one message, and at most 256 have no answer', async () => {
    const { server, session } = await openWorld()
    await using _session = session
    server.lie = () => ({ kind: 'silence' })
    const before = server.session.messages.length
    const asked = Array.from({ length: 300 }, () => session.request('count-packages', undefined, { signal: never }))
    for (const each of asked) each.catch(() => {})
    await settled()
    const sent = server.session.messages.slice(before)
    assert.equal(sent.length, 1)
    const frames = readFrames(sent[0] ?? never0)
    assert.equal(frames.length, 256)
    assert.equal(new Set(frames.map(({ request }) => request)).size, 256)
    const answer = done('count-packages', { singleUse: 1, hasLastResort: true })
    for (const { request } of frames.slice(0, 10)) server.session.say(answers.done, request, answer)
    await settled()
    const [more, ...others] = server.session.messages.slice(before + 1)
    assert.equal(readFrames(more ?? never0).length, 10, 'each answer makes room for one more')
    assert.equal(others.length, 0)
  })

  test('answers may come in any order and all in one message', async () => {
    const { server, session } = await openWorld()
    await using _session = session
    const held: number[] = []
    server.lie = () => ({ kind: 'silence' })
    const before = server.session.messages.length
    const asked = [1, 2, 3].map(() => session.request('count-packages', undefined, { signal: never }))
    await settled()
    for (const { request } of readFrames(server.session.messages[before] ?? never0)) held.unshift(request)
    const frames = held.map((request) =>
      writeFrame({
        code: answers.done,
        request,
        body: done('count-packages', { singleUse: request, hasLastResort: true }),
      }),
    )
    server.session.sayBytes(Buffer.concat(frames))
    assert.deepEqual(
      (await Promise.all(asked)).map(({ singleUse }) => singleUse),
      held.toReversed(),
    )
  })

  test('who no longer waits gets the reason, and its late answer disturbs nobody', async () => {
    const { server, session } = await openWorld()
    await using _session = session
    const controller = new AbortController()
    server.lie = () => ({ kind: 'silence' })
    const asked = session.request('count-packages', undefined, { signal: controller.signal })
    await settled()
    controller.abort(new Error('enough'))
    await assert.rejects(asked, { message: 'enough' })
    const [frame] = readFrames(server.session.messages.at(-1) ?? never0)
    server.session.say(answers.done, frame?.request ?? 0, done('count-packages', { singleUse: 1, hasLastResort: true }))
    server.lie = undefined
    assert.equal((await session.request('count-packages', undefined, { signal: never })).singleUse, 3)
    assert.equal(session.phase.phase, 'open')
  })

  test('N01: a request that was lost is asked again where that does nothing twice', async () => {
    const { server, session, clock } = await openWorld()
    await using _session = session
    server.lie = cutOnce('count-packages')
    const asked = session.request('count-packages', undefined, { signal: never })
    await until(() => session.phase.phase === 'lost', 'the loss')
    await clock.pass(limits.backoffMinMs)
    assert.equal((await asked).singleUse, 3)
    server.lie = cutOnce('invite')
    await assert.rejects(session.request('invite', { isAdmin: false }, { signal: never }), { reason: 'lost' })
    assert.equal(
      server.requests.filter(({ name }) => name === 'invite').length,
      1,
      'a second one would be a second invite',
    )
  })

  test('a request without a session waits for one, or until it is no longer wanted', async () => {
    const { server, session, clock } = await openWorld()
    await using _session = session
    server.isReachable = false
    server.session.cut()
    await settled()
    const controller = new AbortController()
    const unwanted = session.requests({ signal: controller.signal })
    controller.abort(new Error('enough'))
    await assert.rejects(unwanted, { message: 'enough' })
    const wanted = session.requests({ signal: never })
    server.isReachable = true
    await clock.pass(limits.backoffMinMs)
    assert.deepEqual(await wanted, [])
  })

  test('a refusal is the error that it stands for, whatever its text is made of', async () => {
    const { server, session } = await openWorld()
    await using _session = session
    const text = 'no \u001b]52;c;\u0007\u009b2J\r\n'
    const error = new RefusedError('limited', text, { retryAfterMs: 12 })
    server.lie = () => ({ kind: 'refuse', error })
    await assert.rejects(session.requests({ signal: never }), { reason: 'limited', retryAfterMs: 12, message: text })
    assert.equal(session.phase.phase, 'open')
  })

  test('a request above what the server takes is refused here', async () => {
    const { server, session } = await openWorld()
    await using _session = session
    server.hello = { frameBytesMax: 2_000 }
    await using small = await smaller(session, server)
    const packages = [{ isLastResort: false, notAfter: 1, keyPackage: new Uint8Array(3_000) }]
    await assert.rejects(small.publish(packages, { signal: never }), { reason: 'too-large' })
    assert.equal(small.phase.phase, 'open')
  })
})

describe('S13: what no server may say ends the session with a reason', () => {
  const frame = (code: number, request: number, body: Uint8Array): Uint8Array => writeFrame({ code, request, body })
  const notice = Uint8Array.of(1)
  const delivery = {
    position: 1,
    conversation: someConversation,
    generation: 1,
    sequence: 1,
    at: 1,
    kind: 'application',
    sealed: new Uint8Array(1),
  } as const
  const lies: Record<string, (session: FakeSession) => void> = {
    'bytes without sense': (session) => session.sayBytes(new Uint8Array(randomBytes(50)).fill(255, 0, 4)),
    'an empty message': (session) => session.sayBytes(new Uint8Array()),
    'a frame that is longer than its message': (session) =>
      session.sayBytes(Uint8Array.of(50, 0, 0, 0, 0x82, 0, 0, 0, 0)),
    'a frame that is shorter than its head': (session) => session.sayBytes(Uint8Array.of(8, 0, 0, 0, 0x82, 0, 0, 0, 0)),
    'bytes behind the last frame': (session) =>
      session.sayBytes(Buffer.concat([frame(0x82, 0, notice), Uint8Array.of(0)])),
    'an unknown code': (session) => session.say(0x7f, 0, notice),
    'a code of a request': (session) => session.say(0x01, 0, notice),
    'an event with a number': (session) => session.say(events.notice.code, 5, notice),
    'an unknown notice': (session) => session.say(events.notice.code, 0, Uint8Array.of(99)),
    'a notice with bytes left over': (session) => session.say(events.notice.code, 0, Uint8Array.of(1, 0)),
    'an answer to nothing': (session) => session.say(answers.done, 77, new Uint8Array()),
    'an answer to request 0': (session) => session.say(answers.done, 0, new Uint8Array()),
    'a refusal of nothing': (session) => session.say(answers.refused, 77, new Uint8Array()),
    'a second greeting': (session) => session.greet(),
    'a delivery without credit': (session) => session.deliver(delivery),
    'a message above the limit': (session) => session.sayBytes(new Uint8Array(6 * 2 ** 20 + 1)),
  }
  for (const [what, lie] of Object.entries(lies))
    test(what, async () => {
      const { server, alice, session, clock } = await openWorld()
      await using _session = session
      const first = server.session
      lie(first)
      await settled()
      assert.equal(session.phase.phase, 'lost')
      assert.equal(reasonOf(lastLoss(alice).why), 'bad-answer')
      assert.equal(first.isOpen, false)
      await clock.pass(limits.backoffMinMs)
      await until(() => session.phase.phase === 'open', 'the next session')
    })

  test('an answer of another kind than was asked for', async () => {
    const { server, alice, session } = await openWorld()
    await using _session = session
    const controller = new AbortController()
    server.lie = (name) => (name === 'count-packages' ? { kind: 'answer', body: Uint8Array.of(1, 2, 3) } : undefined)
    const asked = session.request('count-packages', undefined, { signal: controller.signal })
    await until(() => session.phase.phase === 'lost', 'the loss')
    assert.equal(reasonOf(lastLoss(alice).why), 'bad-answer')
    controller.abort()
    await assert.rejects(asked)
  })

  test('a refusal that is none', async () => {
    const { server, alice, session } = await openWorld()
    await using _session = session
    server.lie = (_name, _body, fake) => {
      fake.say(answers.refused, lastNumber(fake), Uint8Array.of(0xff, 0xff))
      return { kind: 'silence' }
    }
    await assert.rejects(session.request('invite', { isAdmin: false }, { signal: never }), { reason: 'lost' })
    assert.equal(reasonOf(lastLoss(alice).why), 'bad-answer')
  })

  test('W02: a greeting that is cut short, at every byte', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    const { server } = world
    const whole = server.session
    const greeting = greetingOf(whole)
    for (let length = 0; length < greeting.length; length++) {
      const transport = {
        open: async (...[, events]: Parameters<typeof server.open>) => {
          queueMicrotask(() => events.message(greeting.subarray(0, length)))
          return { certificate: undefined, send: () => {}, close: () => {} }
        },
      }
      const attempt = world.connect(alice, { world: { ...world.world, transport } })
      await assert.rejects(attempt, { reason: 'bad-answer' }, `${length} bytes`)
    }
  })

  test('limits that allow nothing, and events before the greeting', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    for (const hello of [{ outstandingMax: 0 }, { frameBytesMax: frameHeadBytes }]) {
      world.server.hello = hello
      await assert.rejects(world.connect(alice), { reason: 'bad-answer' })
    }
    const transport = {
      open: async (...[, told]: Parameters<typeof world.server.open>) => {
        told.message(frame(events.notice.code, 0, notice))
        return { certificate: undefined, send: () => {}, close: () => {} }
      },
    }
    await assert.rejects(world.connect(alice, { world: { ...world.world, transport } }), { reason: 'bad-answer' })
  })

  test('a delivery before the proof is answered', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.lie = (name, _body, fake) => {
      if (name === 'prove') fake.deliver(delivery)
      return undefined
    }
    await assert.rejects(world.connect(alice), { reason: 'bad-answer' })
  })

  test('notices that come with the answer to the proof are heard after it was checked', async () => {
    const world = await TestWorld.start()
    const alice = await world.person('alice')
    world.server.lie = (name, _body, fake) => {
      if (name === 'prove') fake.notice({ kind: 'key-packages-low', body: { singleUse: 0, hasLastResort: false } })
      return undefined
    }
    await using _session = await world.connect(alice)
    assert.deepEqual(
      alice.events.map((event) => (event.kind === 'phase' ? event.phase.phase : event.kind)),
      ['greeted', 'notice', 'open'],
    )
  })
})

/** Nothing: where a test expects bytes, it fails on these. */
const never0 = new Uint8Array()

function reasonOf(error: Error): string | undefined {
  return error instanceof ClientError ? error.reason : undefined
}

function cutOnce(name: string) {
  let isCut = false
  return (asked: string, _body: Uint8Array, session: FakeSession) => {
    if (asked !== name || isCut) return undefined
    isCut = true
    session.cut()
    return { kind: 'silence' } as const
  }
}

function lastNumber(session: FakeSession): number {
  return readFrames(session.messages.at(-1) ?? never0).at(-1)?.request ?? 0
}

async function smaller(session: { [Symbol.asyncDispose](): Promise<void> }, server: TestWorld['server']) {
  await session[Symbol.asyncDispose]()
  const world = await TestWorld.start()
  world.server.hello = server.hello
  return world.connect(await world.person('carol'))
}

function greetingOf(session: FakeSession): Uint8Array {
  let greeting: Uint8Array = never0
  const { sayBytes } = session
  session.sayBytes = (bytes) => {
    greeting = bytes
  }
  session.greet()
  session.sayBytes = sayBytes
  return greeting
}

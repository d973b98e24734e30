import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { decode, encode } from '@messageu/protocol'
import {
  type AccountId,
  answers,
  type ConversationId,
  events,
  type Hash,
  limits,
  type OperationName,
  operations,
  RefusedError,
  writeFrame,
} from '@messageu/protocol/v3'
import { acceptedFrames } from '../../src/v3/acceptedframes.ts'
import type { Replies } from '../../src/v3/later.ts'
import { v3Limits } from '../../src/v3/limits.ts'
import { random, startListening } from './listening.ts'

const account = random(32) as AccountId
const nothing = new Uint8Array()
const names = Object.keys(operations) as OperationName[]

suite('C02 every operation is for those that the table names', () => {
  for (const name of names.filter((each) => operations[each].caller !== 'anyone'))
    test(`${name} is not for a connection without a proof, before it is even read`, async () => {
      await using world = await startListening()
      using peer = await world.connect()
      await assert.rejects(peer.askRaw(operations[name].code, Buffer.from('garbage')), { reason: 'unproved' })
      assert.deepEqual(world.log, [], 'no handler was asked')
    })

  for (const name of names.filter((each) => operations[each].caller === 'admin'))
    test(`${name} is not for a device whose account is no administrator, and from then on when it becomes one`, async () => {
      await using world = await startListening()
      const alice = world.people.add()
      using peer = await world.session(alice)
      const garbage = Buffer.alloc(operations[name].request.max + 1)
      await assert.rejects(peer.askRaw(operations[name].code, garbage), { reason: 'not-permitted' })
      alice.account.isAdmin = true
      await assert.rejects(peer.askRaw(operations[name].code, garbage), { reason: 'malformed' })
    })

  for (const name of names.filter((each) => operations[each].caller !== 'anyone'))
    test(`${name} is not for a device that was delisted, though its socket is open`, async () => {
      await using world = await startListening()
      const alice = world.people.add({ isAdmin: true })
      using peer = await world.session(alice)
      peer.socket.pause() // it does not even see that its session ends
      world.people.delist(alice)
      peer.send({ code: operations[name].code, request: 1, body: nothing })
      peer.socket.resume()
      await assert.rejects(peer.answer(1), /closed: 1008 delisted/)
      assert.deepEqual(
        world.log.filter((line) => line.startsWith('failed')),
        [],
        'no handler was asked',
      )
    })

  test('and each of them is served', async () => {
    const asked = new Set<string>()
    const handlers = Object.fromEntries(
      names.map((name) => [
        name,
        () => {
          asked.add(name)
          throw new RefusedError('busy', 'asked')
        },
      ]),
    )
    await using world = await startListening({ handlers })
    using peer = await world.session(world.people.add({ isAdmin: true }))
    for (const name of names.filter((each) => each !== 'prove')) {
      const body = new Uint8Array(operations[name].request.min)
      const refusal = await peer.askRaw(operations[name].code, body).catch((error: unknown) => error)
      assert(refusal instanceof RefusedError, name)
      // all zeros are a request of some operations, and malformed to the others: but no code is unknown
      assert(refusal.reason === 'busy' || refusal.reason === 'malformed', `${name}: ${refusal.reason}`)
    }
    assert(asked.has('read-list') && asked.has('requests') && asked.has('set-account') === false)
  })
})

suite('a request', () => {
  test('is answered under its own number, whichever is done first', async () => {
    const turns: (() => void)[] = []
    await using world = await startListening({
      handlers: {
        claim: () => new Promise((resolve) => turns.push(() => resolve([]))),
        'count-packages': () => ({ singleUse: 3, hasLastResort: true }),
      },
    })
    using peer = await world.session(world.people.add())
    const slow = peer.ask('claim', account)
    assert.deepEqual(await peer.ask('count-packages', undefined), { singleUse: 3, hasLastResort: true })
    turns[0]?.()
    assert.deepEqual(await slow, [])
  })

  test('with an unknown code, or with the code of an event or an answer, is refused, and the session goes on', async () => {
    await using world = await startListening({ handlers: { requests: () => [] } })
    using peer = await world.session(world.people.add())
    for (const code of [0x00, 0x05, 0x7f, events.hello.code, events.deliver.code, answers.done, answers.refused, 0xff])
      await assert.rejects(peer.askRaw(code, nothing), { reason: 'unknown-code' })
    assert.deepEqual(await peer.ask('requests', undefined), [])
  })

  test('W05 with too few bytes, too many, or others than it may have, is malformed, and the session goes on', async () => {
    await using world = await startListening({ handlers: { requests: () => [] } })
    using peer = await world.session(world.people.add())
    const body = encode(operations.credit.request, { messages: 1, bytes: 1 })
    for (const bad of [body.subarray(1), Buffer.concat([body, nothing, Buffer.from([0])]), nothing])
      await assert.rejects(peer.askRaw(operations.credit.code, bad), { reason: 'malformed' })
    await assert.rejects(peer.askRaw(operations.requests.code, Buffer.from([1])), { reason: 'malformed' })
    assert.deepEqual(await peer.ask('requests', undefined), [])
  })

  test('K11 that the server cannot serve by its own mistake is `internal`, tells nothing, and is in the log', async () => {
    await using world = await startListening({
      handlers: {
        requests: () => {
          throw new TypeError('secret detail')
        },
        claim: async () => {
          throw new TypeError('secret detail')
        },
        'count-packages': () => ({ singleUse: -1, hasLastResort: true }), // cannot be encoded
      },
    })
    using peer = await world.session(world.people.add())
    for (const asking of [
      () => peer.ask('requests', undefined),
      () => peer.ask('claim', account),
      () => peer.ask('count-packages', undefined),
    ])
      await assert.rejects(asking(), (error: RefusedError) => {
        return error.reason === 'internal' && !error.message.includes('secret')
      })
    assert.deepEqual(
      world.log.map((line) => line.replace(/: .*/, '')),
      ['failed requests', 'failed claim', 'failed count-packages'],
    )
  })

  test('that sends is taken with the others of its message, up to one of another kind or the end of the message', async () => {
    const log: string[] = []
    const waiting: number[] = []
    let told: Replies | undefined
    await using world = await startListening({
      handlers: {
        requests: () => {
          log.push('requests')
          return []
        },
        send: (_services, _session, replies) => {
          told = replies
          return {
            take(_body, request) {
              log.push(`take ${request}`)
              waiting.push(request)
            },
            end: () => log.push('end'),
          }
        },
      },
    })
    using peer = await world.session(world.people.add())
    const send = (request: number) => ({ code: operations.send.code, request, body: nothing })
    peer.messages.length = 0
    peer.send(send(1), send(2), { code: operations.requests.code, request: 3, body: nothing }, send(4), send(5))
    await peer.answer(3)
    assert.deepEqual(log, ['take 1', 'take 2', 'end', 'requests', 'take 4', 'take 5', 'end'])
    told?.done(waiting, acceptedFrames(waiting, 7, { positions: [8, 9, 10, 11], at: 12 }))
    for (const [i, request] of [1, 2, 4, 5].entries())
      assert.deepEqual(decode(operations.send.response, await peer.answer(request)), {
        sequence: 7 + i,
        position: 8 + i,
        at: 12,
      })
    assert.deepEqual(peer.messages, [1, 4])
    assert.equal(world.listener.figures.acceptedMessages, 4)
  })

  test('is answered though others of the same session never are, and behind many that were', async () => {
    await using world = await startListening({
      handlers: {
        requests: () => [],
        'count-packages': () => Promise.withResolvers<never>().promise,
      },
    })
    using peer = await world.session(world.people.add())
    peer.ask('count-packages', undefined).catch(() => {}) // it ends with the connection
    assert.deepEqual(await peer.ask('requests', undefined), [])
    const many = await Promise.all(Array.from({ length: 100 }, () => peer.ask('requests', undefined)))
    assert.equal(many.length, 100)
  })

  test('is refused with what has changed and when to come back', async () => {
    const current = { kind: 'list', body: { version: 4, hash: random(32) as Hash } } as const
    await using world = await startListening({
      handlers: {
        claim: () => {
          throw new RefusedError('stale-list', 'the list has grown', { current, retryAfterMs: 5 })
        },
      },
    })
    using peer = await world.session(world.people.add())
    await assert.rejects(peer.ask('claim', account), { reason: 'stale-list', retryAfterMs: 5, current })
    assert.equal(world.listener.figures.refusals.get('stale-list'), 1)
  })
})

suite('before its proof a connection', () => {
  const handlers = {
    'read-list': () => ({ version: 0, entries: [] }),
  }

  test('may read lists, and is proved afterwards', async () => {
    await using world = await startListening({ handlers })
    using peer = await world.connect()
    assert.deepEqual(await peer.ask('read-list', { account, after: 0 }), { version: 0, entries: [] })
    await peer.prove(world.people.add())
  })

  test('asks a bounded number of times', async () => {
    await using world = await startListening({ handlers })
    using peer = await world.connect()
    for (let i = 0; i < v3Limits.asksBeforeProofMax; i++) await peer.ask('read-list', { account, after: 0 })
    peer.send({
      code: operations['read-list'].code,
      request: 99,
      body: encode(operations['read-list'].request, { account, after: 0 }),
    })
    assert.deepEqual(await peer.closed, { code: 1008, why: 'limited' })
  })

  test('C07 shares a rate with the others of its address, this machine apart', async () => {
    const strangerRate = { perSecond: 0.001, burst: 3 }
    await using far = await startListening({ handlers, limits: { strangerRate }, isLocal: () => false })
    for (let i = 0; i < 3; i++) {
      using peer = await far.connect()
      await peer.ask('read-list', { account, after: 0 })
    }
    using late = await far.connect()
    const refused = (error: RefusedError) => error.reason === 'limited' && error.retryAfterMs > 1000
    await assert.rejects(late.ask('read-list', { account, after: 0 }), refused)
    await assert.rejects(late.prove(far.people.add()), refused)

    await using near = await startListening({ handlers, limits: { strangerRate } })
    using peer = await near.connect()
    for (let i = 0; i < 5; i++) await peer.ask('read-list', { account, after: 0 })
  })
})

suite('what a connection may not do', () => {
  test('W05 speak in text', async () => {
    await using world = await startListening()
    using peer = await world.session(world.people.add())
    peer.socket.send('hello')
    assert.deepEqual(await peer.closed, { code: 1003, why: 'text' })
  })

  const head = writeFrame({ code: operations.requests.code, request: 1, body: nothing })
  const badLength = (length: number): Buffer => {
    const bytes = Buffer.from(head)
    bytes.writeUInt32LE(length)
    return bytes
  }
  const messages: Record<string, Uint8Array> = {
    'no bytes': nothing,
    'half a head': head.subarray(0, 5),
    'a length of 0': badLength(0),
    'a length below the head': badLength(8),
    'a length beyond the end': badLength(10),
    'a length of 2^32 - 1': badLength(2 ** 32 - 1),
    'bytes behind the last frame': Buffer.concat([head, Buffer.from([0])]),
    'the number 0': writeFrame({ code: operations.requests.code, request: 0, body: nothing }),
  }
  for (const [what, bytes] of Object.entries(messages))
    test(`W03 send a message with ${what}`, async () => {
      await using world = await startListening()
      using peer = await world.session(world.people.add())
      peer.socket.send(bytes)
      assert.deepEqual(await peer.closed, { code: 1002, why: 'malformed' })
    })

  test('W08 use a number that still waits for its answer', async () => {
    await using world = await startListening({ handlers: { claim: () => new Promise(() => {}) } })
    using peer = await world.session(world.people.add())
    const frame = { code: operations.claim.code, request: 5, body: encode(AccountIdOf, account) }
    peer.send(frame)
    peer.send(frame)
    assert.deepEqual(await peer.closed, { code: 1002, why: 'malformed' })
  })

  test('send a message above the largest frame', async () => {
    await using world = await startListening()
    using peer = await world.session(world.people.add())
    peer.socket.send(Buffer.alloc(limits.frameBytesMax + 1))
    assert.equal((await peer.closed).code, 1009)
  })

  test('W04 send a message in more pieces than anybody needs', async () => {
    await using world = await startListening()
    using peer = await world.session(world.people.add())
    for (let i = 0; i <= v3Limits.fragmentsMax; i++) peer.socket.send(Buffer.alloc(1), { fin: false })
    assert.equal((await peer.closed).code, 1008)
  })

  test('have more requests under way than the protocol allows: those beyond it are refused', async () => {
    const waiting: (() => void)[] = []
    await using world = await startListening({
      handlers: { claim: () => new Promise((resolve) => waiting.push(() => resolve([]))) },
    })
    using peer = await world.session(world.people.add())
    const body = encode(AccountIdOf, account)
    const count = limits.outstandingMax + 3
    peer.send(...Array.from({ length: count }, (_, i) => ({ code: operations.claim.code, request: i + 1, body })))
    for (let i = limits.outstandingMax + 1; i <= count; i++) await assert.rejects(peer.answer(i), { reason: 'limited' })
    assert.equal(waiting.length, limits.outstandingMax)
    peer.send({ code: operations.claim.code, request: 1000, body }) // waits in the socket until there is room
    for (const done of waiting.splice(0)) done()
    for (let i = 1; i <= limits.outstandingMax; i++) await peer.answer(i)
    while (waiting.at(0) === undefined) await sleep(1)
    waiting.at(0)?.()
    await peer.answer(1000)
  })

  test('ask more in a second than its device may, on however many connections', async () => {
    await using world = await startListening({
      handlers: { requests: () => [] },
      limits: { deviceRate: { perSecond: 0.001, burst: 4 } },
    })
    const [alice, bob] = [world.people.add(), world.people.add()]
    for (let i = 0; i < 2; i++) {
      using peer = await world.session(alice)
      await peer.ask('requests', undefined)
      await peer.ask('requests', undefined)
    }
    using again = await world.session(alice)
    await assert.rejects(again.ask('requests', undefined), (error: RefusedError) => {
      return error.reason === 'limited' && error.retryAfterMs > 1000
    })
    using other = await world.session(bob)
    await other.ask('requests', undefined)
  })

  test('have more bytes under way, with everybody else, than fit the memory', async () => {
    const waiting: (() => void)[] = []
    await using world = await startListening({
      handlers: { claim: () => new Promise((resolve) => waiting.push(() => resolve([]))) },
      limits: { underWayBytesMax: 100 },
    })
    using one = await world.session(world.people.add())
    using other = await world.session(world.people.add())
    const answered = [one.ask('claim', account), one.ask('claim', account), one.ask('claim', account)]
    while (waiting.length < 3) await sleep(1)
    await assert.rejects(other.ask('claim', account), { reason: 'busy', retryAfterMs: v3Limits.retryAfterMs })
    for (const done of waiting.splice(0)) done()
    await Promise.all(answered)
    const later = other.ask('claim', account)
    while (waiting.length === 0) await sleep(1)
    waiting[0]?.()
    await later
  })
})

suite('answers', () => {
  test('of one turn leave in one message', async () => {
    const waiting: (() => void)[] = []
    await using world = await startListening({
      handlers: {
        requests: () => [],
        claim: () => new Promise((resolve) => waiting.push(() => resolve([]))),
      },
    })
    using peer = await world.session(world.people.add())
    const body = encode(AccountIdOf, account)
    peer.messages.length = 0
    peer.send(
      ...Array.from({ length: 50 }, (_, i) => ({ code: operations.requests.code, request: i + 1, body: nothing })),
    )
    for (let i = 1; i <= 50; i++) await peer.answer(i)
    assert.deepEqual(peer.messages, [50])
    peer.send(...Array.from({ length: 50 }, (_, i) => ({ code: operations.claim.code, request: i + 1, body })))
    while (waiting.length < 50) await sleep(1)
    for (const done of waiting) done()
    for (let i = 1; i <= 50; i++) await peer.answer(i)
    assert.deepEqual(peer.messages, [50, 50])
  })

  test('that do not fit one message go in several', async () => {
    const tree = Buffer.alloc(limits.handshakeBytesMax, 7)
    await using world = await startListening({ handlers: { 'read-tree': () => ({ tree }) } })
    using peer = await world.session(world.people.add())
    const request = { conversation: random(32) as ConversationId, treeHash: random(32) as Hash }
    const body = encode(operations['read-tree'].request, request)
    peer.send(...[1, 2, 3].map((number) => ({ code: operations['read-tree'].code, request: number, body })))
    for (const number of [1, 2, 3]) assert.equal((await peer.answer(number)).length, 4 + tree.length)
    assert.deepEqual(peer.messages.slice(-3), [1, 1, 1])
  })

  test('C15 that nobody reads stop the reading of requests, and lose nothing', async () => {
    const tree = Buffer.alloc(2 ** 20, 7)
    let asked = 0
    await using world = await startListening({
      handlers: {
        'read-tree': () => {
          asked += 1
          return { tree }
        },
      },
    })
    using peer = await world.session(world.people.add())
    const request = { conversation: random(32) as ConversationId, treeHash: random(32) as Hash }
    const body = encode(operations['read-tree'].request, request)
    peer.socket.pause()
    const count = 60
    for (let number = 1; number <= count; number++) {
      peer.send({ code: operations['read-tree'].code, request: number, body })
      await sleep(1) // so that each comes by itself
    }
    while ((world.attached[0]?.backlog ?? 0) <= v3Limits.backlogBytesMax) await sleep(1)
    await sleep(50)
    assert(asked < count, `${asked} of ${count} were served to somebody who reads nothing`)
    let drained = 0
    world.attached[0]?.onDrain(() => {
      drained += 1
    })
    peer.socket.resume()
    for (let number = 1; number <= count; number++) await peer.answer(number)
    assert.equal(asked, count)
    assert(drained > 0)
  })

  test('C15 that grow beyond all measure end the session', async () => {
    const tree = Buffer.alloc(2 ** 20, 7)
    await using world = await startListening({
      handlers: { 'read-tree': () => ({ tree }) },
      limits: { backlogBytesEnd: 8 * 2 ** 20 },
    })
    using peer = await world.session(world.people.add())
    const request = { conversation: random(32) as ConversationId, treeHash: random(32) as Hash }
    const body = encode(operations['read-tree'].request, request)
    peer.socket.pause()
    peer.send(...Array.from({ length: 40 }, (_, i) => ({ code: operations['read-tree'].code, request: i + 1, body })))
    while (world.sessions.count > 0) await sleep(1)
    assert.equal(world.attached[0]?.isOpen, false)
    peer.socket.resume()
    await peer.closed
    while (world.log.length === 0) await sleep(1)
    assert.deepEqual(world.log, ['ended busy'])
  })
})

const AccountIdOf = operations.claim.request

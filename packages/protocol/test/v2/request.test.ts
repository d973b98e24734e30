import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { ProtocolError } from '../../src/errors.ts'
import { limits } from '../../src/v2/limits.ts'
import { encodeRequest, type Request, type RequestEvents, RequestReader } from '../../src/v2/request.ts'
import { cutAtRandom, joined, seeded } from '../fuzz.ts'
import { readRequest, singleBytes } from './reading.ts'
import { anyRequest, clientId, name, nameField, publicKey, rawAddressed, rawRequest } from './samples.ts'

const asker = clientId(0xa1)
const recipient = clientId(0xb2)
const nothing = new Uint8Array(0)

test('W08: a request that was encoded is read again, however it is cut, and nothing behind it is', () => {
  fc.assert(
    fc.property(anyRequest, fc.uint8Array({ maxLength: 30 }), fc.nat(), ({ request, content }, behind, seed) => {
      const stream = joined(encodeRequest(request), content, behind)
      for (const pieces of [[stream], singleBytes(stream), cutAtRandom(stream, seeded(seed))]) {
        const read = readRequest(pieces)
        assert.deepEqual(read.header, { asker: request.asker, operation: request.kind })
        assert.deepEqual(read.request, request)
        assert.deepEqual(read.content, Buffer.from(content))
        assert.deepEqual([read.complete, read.missing, read.refused], [true, 'nothing', undefined])
      }
    }),
  )
})

test('W02: a request cut short at any offset waits for more and is not complete', () => {
  fc.assert(
    fc.property(anyRequest, ({ request, content }) => {
      const head = encodeRequest(request)
      const stream = joined(head, content)
      for (let length = 0; length < stream.length; length++) {
        const read = readRequest([stream.subarray(0, length)])
        assert.deepEqual([read.complete, read.refused], [false, undefined])
        assert.equal(read.missing, length < 22 ? 'header' : 'payload')
        assert.equal(read.request !== undefined, length >= head.length)
      }
    }),
    { numRuns: 20 },
  )
})

describe('the header', () => {
  test('is told before the rest has come', () => {
    const read = readRequest([rawRequest(103, 100, nothing)])
    assert.deepEqual(read.header, { asker, operation: 'send' })
    assert.deepEqual([read.request, read.missing], [undefined, 'payload'])
  })

  test('may carry any version', () => {
    for (const version of [0, 1, 3, 255])
      assert.equal(readRequest([rawRequest(101, 0, nothing, version)]).request?.kind, 'list')
  })

  test('with an unknown code is refused', () => {
    for (const code of [0, 1, 99, 105, 255])
      for (const payloadBytes of [0, 16])
        assert.equal(readRequest([rawRequest(code, payloadBytes, nothing)]).refused?.reason, 'unknown-code')
  })

  test('W03: with an announced size that does not fit its code is refused before anything else comes', () => {
    const sizes = { register: [415, 415], list: [0, 0], key: [16, 16], send: [21, 2 ** 30], fetch: [0, 0] } as const
    const codes = { register: 100, list: 101, key: 102, send: 103, fetch: 104 } as const
    const tried = [0, 1, 15, 16, 17, 20, 21, 22, 414, 415, 416, 2 ** 30 - 1, 2 ** 30, 2 ** 30 + 1, 2 ** 31, 2 ** 32 - 1]
    for (const kind of ['register', 'list', 'key', 'send', 'fetch'] as const)
      for (const size of tried) {
        const [least, most] = sizes[kind]
        const read = readRequest([rawRequest(codes[kind], size, nothing)])
        const expected = least <= size && size <= most ? undefined : 'malformed'
        assert.equal(read.refused?.reason, expected, `${kind} ${size}`)
        assert.equal(read.header === undefined, expected === 'malformed')
      }
  })

  test('W03: that announces more than a request may have is refused whatever its code', () => {
    for (let code = 0; code < 256; code++)
      for (const size of [2 ** 30 + 1, 2 ** 31, 2 ** 32 - 1])
        assert.equal(readRequest([rawRequest(code, size, nothing)]).refused?.reason, 'malformed')
  })
})

describe('a send', () => {
  const send = (type: number, contentBytes: number, payloadBytes = 21 + contentBytes) =>
    readRequest([rawRequest(103, payloadBytes, rawAddressed(type, contentBytes))])

  test('G04: of the largest content is taken, and none of its bytes is waited for in memory', () => {
    const before = process.memoryUsage()
    const read = send(4, 2 ** 30 - 21)
    const after = process.memoryUsage()
    assert.equal(read.request?.kind === 'send' && read.request.addressed.contentBytes, 2 ** 30 - 21)
    assert.ok(after.external - before.external < 2 ** 20)
  })

  test('W03: whose two sizes disagree is refused', () => {
    for (const [payload, content] of [
      [25, 5],
      [25, 3],
      [21, 1],
      [22, 0],
      [21, 2 ** 32 - 1],
      [2 ** 30, 2 ** 30 - 20],
      [2 ** 30, 2 ** 30 + 1],
      [2 ** 30, 2 ** 31],
      [20 + 2 ** 30 - 21, 2 ** 32 - 1],
    ] as const)
      assert.equal(send(3, content, payload).refused?.reason, 'malformed', `${payload} ${content}`)
  })

  test('of a type that is not one is refused', () => {
    for (const type of [0, 5, 255])
      for (const content of [0, 3]) assert.equal(send(type, content).refused?.reason, 'malformed')
  })

  test('of a key request has no content; every other type may have any, also none', () => {
    assert.equal(send(1, 4).refused?.reason, 'malformed')
    for (const [type, contents] of [
      [1, [0]],
      [2, [0, 5, 128]],
      [3, [0, 3]],
      [4, [0, 1]],
    ] as const)
      for (const content of contents) assert.equal(send(type, content).refused, undefined)
  })
})

test('a request with an id or a key of any bytes, or a name with a tail, is read', () => {
  for (const key of [new Uint8Array(160), publicKey]) {
    const payload = joined(nameField('bob', Uint8Array.of(0x78, 0x79)), key)
    const { request } = readRequest([rawRequest(100, 415, payload)])
    assert.deepEqual(request, { kind: 'register', asker, registration: { name: name('bob'), publicKey: key } })
  }
})

test('G04: a registration whose name has no NUL or is not UTF-8 is refused once it is whole', () => {
  for (const field of [new Uint8Array(255).fill(0x7a), nameField('ab', Uint8Array.of(0xff)), nameField('a')]) {
    const wire = rawRequest(100, 415, joined(field, publicKey))
    assert.equal(readRequest([wire.subarray(0, -1)]).refused, undefined)
    assert.equal(readRequest([wire]).refused?.reason, 'malformed')
  }
})

test('an event that throws ends the reading: what comes after it tells nothing', () => {
  const names = ['onHeader', 'onRequest', 'onContent', 'onComplete'] as const
  const addressed = { recipient, type: 'text', contentBytes: 3 } as const
  const stream = joined(encodeRequest({ kind: 'send', asker, addressed }), new Uint8Array(3))
  for (const failing of names) {
    const told: string[] = []
    const event = (name: string) => () => {
      told.push(name)
      if (name === failing) throw new ProtocolError('unknown-client', 'who?')
    }
    const events = Object.fromEntries(names.map((name) => [name, event(name)])) as unknown as RequestEvents
    const reader = new RequestReader(events)
    assert.throws(() => reader.push(stream), { reason: 'unknown-client' })
    const before = told.length
    reader.push(stream)
    assert.deepEqual([told.length, told.at(-1), reader.complete], [before, failing, false])
  }
})

test('a reader that an event has stopped tells nothing more', () => {
  const told: string[] = []
  const reader = new RequestReader({
    onHeader: () => told.push('header'),
    onRequest() {
      told.push('request')
      reader.stop()
    },
    onContent: () => told.push('content'),
    onComplete: () => told.push('complete'),
  })
  reader.push(encodeRequest({ kind: 'fetch', asker }))
  reader.push(encodeRequest({ kind: 'fetch', asker }))
  assert.deepEqual([told, reader.complete], [['header', 'request'], false])
})

test('a request that no server would take is not encoded', () => {
  const send = (type: 'key-request' | 'file', contentBytes: number): Request => ({
    kind: 'send',
    asker,
    addressed: { recipient, type, contentBytes },
  })
  assert.equal(encodeRequest(send('file', limits.contentBytesMax)).length, 43)
  for (const request of [send('file', limits.contentBytesMax + 1), send('file', 2 ** 32), send('key-request', 1)])
    assert.throws(() => encodeRequest(request), { reason: 'malformed' })
})

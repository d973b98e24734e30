import assert from 'node:assert/strict'
import { type Codec, decode, encode } from '../../src/codec.ts'
import { ProtocolError } from '../../src/errors.ts'
import {
  Addressed,
  Delivered,
  Listing,
  PublicKeyOf,
  Receipt,
  Registration,
  RequestHeader,
  ResponseHeader,
  Target,
} from '../../src/v2/messages.ts'
import { answerHeader, type OperationName, operations, refusal } from '../../src/v2/operations.ts'
import { encodeRequest } from '../../src/v2/request.ts'
import { readAnswerHeader } from '../../src/v2/response.ts'
import { cutAtRandom, fuzz, joined } from '../fuzz.ts'
import { readDelivery, readRequest } from './reading.ts'
import { clientId, name, publicKey } from './samples.ts'

const client = clientId(0x11)
const recipient = clientId(0x22)
const short = name('bob')
const long = name('ש'.repeat(127))
const registrations = [
  { name: short, publicKey },
  { name: long, publicKey },
]
const text = { type: 'text', contentBytes: 33 } as const
const keyRequest = { type: 'key-request', contentBytes: 0 } as const

/** `deepEqual` is slow: it is asked only for a difference that is there, and describes it. */
function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) !== 0) assert.deepEqual(Buffer.from(actual), Buffer.from(expected))
}

/** Refused as malformed, or a value that encodes to the same bytes; `canonical` drops what a decoder may forget. */
function oneForm<T>(codec: Codec<T>, canonical: (input: Uint8Array) => Uint8Array = (input) => input) {
  return (input: Uint8Array): void => {
    let value: T
    try {
      value = decode(codec, input)
    } catch (error) {
      if (error instanceof ProtocolError && error.reason === 'malformed') return
      throw error
    }
    assertSame(encode(codec, value), canonical(input))
  }
}

/** Zeros from the first NUL to the end of the name that begins at every one of `starts`. */
function withoutTails(input: Uint8Array, starts: readonly number[]): Uint8Array {
  const cut = input.slice()
  for (const start of starts) cut.fill(0, cut.indexOf(0, start), start + 255)
  return cut
}

const encoded = <T>(codec: Codec<T>, ...values: readonly T[]) => values.map((value) => encode(codec, value))

fuzz(
  'RequestHeader',
  encoded(RequestHeader, { client, version: 2, code: 103, payloadBytes: 54 }),
  oneForm(RequestHeader),
)
fuzz('ResponseHeader', [refusal, answerHeader('fetch', 2 ** 31)], oneForm(ResponseHeader))
fuzz(
  'Registration',
  encoded(Registration, ...registrations),
  oneForm(Registration, (input) => withoutTails(input, [0])),
)
fuzz('Target', encoded(Target, { client }), oneForm(Target))
fuzz('Addressed', encoded(Addressed, { recipient, ...text }, { recipient: client, ...keyRequest }), oneForm(Addressed))
fuzz('Delivered', encoded(Delivered, { sender: client, message: 7, ...text }), oneForm(Delivered))
fuzz(
  'Listing',
  encoded(
    Listing,
    [],
    [{ client, name: short }],
    [
      { client, name: long },
      { client: recipient, name: short },
    ],
  ),
  oneForm(Listing, (input) =>
    withoutTails(
      input,
      Array.from({ length: input.length / 271 }, (_, i) => 271 * i + 16),
    ),
  ),
)
fuzz('PublicKeyOf', encoded(PublicKeyOf, { client, publicKey }), oneForm(PublicKeyOf))
fuzz('Receipt', encoded(Receipt, { recipient, message: 2 ** 32 - 1 }), oneForm(Receipt))

const requests = [
  ...registrations.map((registration) => encodeRequest({ kind: 'register', asker: client, registration })),
  encodeRequest({ kind: 'list', asker: client }),
  encodeRequest({ kind: 'key', asker: client, target: recipient }),
  encodeRequest({ kind: 'send', asker: client, addressed: { recipient, ...keyRequest } }),
  joined(encodeRequest({ kind: 'send', asker: client, addressed: { recipient, ...text } }), new Uint8Array(33)),
  encodeRequest({ kind: 'fetch', asker: client }),
]
fuzz('RequestReader, cut at random', requests, (input, random) => {
  const whole = readRequest([input])
  const cut = readRequest(cutAtRandom(input, random))
  assert.equal(cut.refused?.message, whole.refused?.message)
  assert.equal(cut.missing, whole.missing)
  assertSame(cut.content, whole.content)
  assert.ok(['malformed', 'unknown-code', undefined].includes(whole.refused?.reason))
  if (whole.request === undefined || cut.request === undefined) return assert.equal(cut.request, whole.request)
  const head = encodeRequest(whole.request)
  assertSame(encodeRequest(cut.request), head)
  const read = input.slice(0, head.length + whole.content.length)
  read[16] = 2 // any version is served
  return assertSame(joined(head, whole.content), whole.request.kind === 'register' ? withoutTails(read, [22]) : read)
})

const first = joined(encode(Delivered, { sender: client, message: 1, ...text }), new Uint8Array(33).fill(7))
const second = encode(Delivered, { sender: recipient, message: 2, ...keyRequest })
fuzz('DeliveryReader, cut at random', [new Uint8Array(0), first, joined(first, second), second], (input, random) => {
  const whole = readDelivery([input])
  const cut = readDelivery(cutAtRandom(input, random))
  const again = ({ messages }: typeof whole) =>
    joined(...messages.flatMap(({ head, content }) => [encode(Delivered, head), content]))
  assert.equal(cut.refused?.message, whole.refused?.message)
  assertSame(again(cut), again(whole))
  assert.ok(whole.refused === undefined || whole.refused.reason === 'malformed')
  assertSame(again(whole), whole.refused === undefined ? input : input.slice(0, again(whole).length))
})

const answers = [refusal, ...Object.keys(operations).map((name) => answerHeader(name as OperationName, 16))]
fuzz('readAnswerHeader', answers, (input, random) => {
  const asked = (Object.keys(operations) as OperationName[])[random.below(5)] as OperationName
  try {
    const answer = readAnswerHeader(asked, input)
    assertSame(input, answer.kind === 'refused' ? refusal : answerHeader(asked, answer.bytes))
  } catch (error) {
    if (!(error instanceof ProtocolError && error.reason === 'malformed')) throw error
  }
})

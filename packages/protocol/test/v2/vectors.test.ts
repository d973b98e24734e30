import assert from 'node:assert/strict'
import { createCipheriv, createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { type Codec, decode, encode } from '../../src/codec.ts'
import {
  ClientId,
  Delivered,
  Listing,
  messageTypes,
  nameFromText,
  nameToText,
  PublicKey,
  PublicKeyOf,
  Receipt,
} from '../../src/v2/messages.ts'
import { answerHeader, type OperationName, operations, refusal } from '../../src/v2/operations.ts'
import { encodeRequest, type Request } from '../../src/v2/request.ts'
import { readAnswerHeader } from '../../src/v2/response.ts'
import { cutAtRandom, joined, seeded } from '../fuzz.ts'
import { readDelivery, readRequest, singleBytes } from './reading.ts'

/** One direction of a recorded connection: its fields, and its bytes or (over 6200) their digest. */
interface Recorded {
  readonly hex?: string
  readonly size?: number
  readonly sha256?: string
  readonly headHex?: string
  readonly decoded: Fields
}

/** The fields as the recorder named them; which of them are there depends on the code. */
interface Fields extends Content {
  readonly clientId: string
  readonly version: number
  readonly code: number
  readonly payloadSize: number
  readonly name: string
  readonly publicKey: string
  readonly targetId: string
  readonly toId: string
  readonly newClientId: string
  readonly messageId: number
  readonly clients: readonly { readonly id: string; readonly name: string }[]
  readonly messages: readonly (Content & { readonly fromId: string; readonly messageId: number })[]
}

interface Content {
  readonly messageType: number
  readonly messageTypeName: string
  readonly contentSize: number
  readonly aesKey?: string
  readonly plainSize?: number
  readonly plainHex?: string
  readonly plainSha256?: string
  readonly text?: string
}

interface Session {
  readonly exchanges: readonly { readonly n: number; readonly request: Recorded; readonly response: Recorded }[]
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'))
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Recorded refusals that are the decoder's: a name of one character, an empty name. A name taken twice it cannot see. */
const refusedByDecoder: Record<string, readonly number[]> = { 'wire-session': [4, 6] }

const sessions = { 'wire-suite': 22, 'wire-session': 40, 'wire-driver': 18 }
for (const [name, count] of Object.entries(sessions))
  describe(`vectors ${name}`, () => {
    const session: Session = JSON.parse(readFileSync(new URL(`../../vectors/v2/${name}.json`, import.meta.url), 'utf8'))

    test(`hold ${count} exchanges`, () => assert.equal(session.exchanges.length, count))

    for (const { n, request, response } of session.exchanges) {
      const kind = kindOf(request.decoded.code)
      if (refusedByDecoder[name]?.includes(n))
        test(`exchange ${n}: a ${kind} that was refused is malformed, at its last byte`, () => {
          const wire = bytesOf(request.hex ?? '')
          assert.equal(readRequest([wire.subarray(0, -1)]).refused, undefined)
          assert.equal(readRequest([wire]).refused?.reason, 'malformed')
          assert.equal(response.hex, hex(refusal))
        })
      else
        test(`exchange ${n}: a ${kind} and its answer are what was recorded, and the same bytes again`, () => {
          checkRequest(request)
          checkResponse(kind, response)
        })
    }
  })

function kindOf(code: number): OperationName {
  const kind = (Object.keys(operations) as OperationName[]).find((name) => operations[name].code === code)
  assert.ok(kind, `code ${code}`)
  return kind
}

function cuttings(wire: Uint8Array): Iterable<Uint8Array>[] {
  return [[wire], singleBytes(wire), cutAtRandom(wire, seeded(wire.length)), cutAtRandom(wire, seeded(1))]
}

/** The recorded bytes. Where only their digest was kept, `again` makes them, and the digest judges what it made. */
function wireOf(recorded: Recorded, again: () => Uint8Array): Uint8Array {
  if (recorded.hex !== undefined) return bytesOf(recorded.hex)
  const wire = again()
  assert.equal(hex(wire.subarray(0, 64)), recorded.headHex)
  assert.deepEqual([wire.length, sha256(wire)], [recorded.size, recorded.sha256])
  return wire
}

/** A content that was not recorded, made from its rule: see `notes` of wire-session.json. */
function contentOf({ messageType, contentSize, aesKey, plainSize, text }: Content): Uint8Array {
  assert.ok(aesKey !== undefined && plainSize !== undefined)
  const cipher = createCipheriv('aes-128-cbc', Buffer.from(aesKey, 'hex'), Buffer.alloc(16))
  const plain =
    messageType === messageTypes.file
      ? Uint8Array.from({ length: plainSize }, (_, i) => (i * 7 + 3) % 256)
      : Buffer.from(`${text ?? (plainSize === 5001 ? 'L'.repeat(5000) : 'M'.repeat(70_000))}\0`)
  const content = Buffer.concat([cipher.update(plain), cipher.final()])
  assert.equal(content.length, contentSize)
  return content
}

function checkRequest(recorded: Recorded): void {
  const { decoded } = recorded
  const request = requestOf(decoded)
  const head = encodeRequest(request)
  const wire = wireOf(recorded, () => joined(head, contentOf(decoded)))
  assert.equal(wire.length, 22 + decoded.payloadSize)
  assert.equal(hex(head), hex(wire.subarray(0, head.length)))
  for (const pieces of cuttings(wire)) {
    const read = readRequest(pieces)
    assert.deepEqual(read.request, request)
    assert.equal(read.header?.operation, request.kind)
    assert.equal(Buffer.compare(read.content, wire.subarray(head.length)), 0)
    assert.deepEqual([read.complete, read.refused], [true, undefined])
  }
}

/** The request that the recorder's fields describe. */
function requestOf(decoded: Fields): Request {
  const asker = decode(ClientId, bytesOf(decoded.clientId))
  const kind = kindOf(decoded.code)
  assert.equal(decoded.version, 2)
  switch (kind) {
    case 'register': {
      const publicKey = decode(PublicKey, bytesOf(decoded.publicKey))
      return { kind, asker, registration: { name: nameFromText(decoded.name), publicKey } }
    }
    case 'key':
      return { kind, asker, target: decode(ClientId, bytesOf(decoded.targetId)) }
    case 'send': {
      const recipient = decode(ClientId, bytesOf(decoded.toId))
      return { kind, asker, addressed: { recipient, type: typeOf(decoded), contentBytes: decoded.contentSize } }
    }
    case 'list':
    case 'fetch':
      return { kind, asker }
  }
}

function typeOf({ messageType, messageTypeName }: Content): keyof typeof messageTypes {
  const type = messageTypeName as keyof typeof messageTypes
  assert.equal(messageTypes[type], messageType)
  return type
}

function checkResponse(kind: OperationName, recorded: Recorded): void {
  const { decoded } = recorded
  if (decoded.code === 9000) {
    assert.equal(recorded.hex, hex(refusal))
    assert.deepEqual(readAnswerHeader(kind, refusal), { kind: 'refused' })
    return
  }
  assert.deepEqual([decoded.version, decoded.code], [2, operations[kind].answer])
  const header = answerHeader(kind, decoded.payloadSize)
  const wire = wireOf(recorded, () =>
    joined(header, ...decoded.messages.flatMap((each) => [encode(Delivered, headOf(each)), contentOf(each)])),
  )
  assert.equal(wire.length, 7 + decoded.payloadSize)
  assert.equal(hex(wire.subarray(0, 7)), hex(header))
  assert.deepEqual(readAnswerHeader(kind, wire.subarray(0, 7)), { kind: 'payload', bytes: decoded.payloadSize })
  checkPayload(kind, decoded, wire.subarray(7))
}

function headOf(message: Fields['messages'][number]): Delivered {
  const sender = decode(ClientId, bytesOf(message.fromId))
  return { sender, message: message.messageId, type: typeOf(message), contentBytes: message.contentSize }
}

function checkPayload(kind: OperationName, decoded: Fields, payload: Uint8Array): void {
  switch (kind) {
    case 'register':
      assert.equal(hex(sameAgain(ClientId, payload)), decoded.newClientId)
      break
    case 'list': {
      const all = sameAgain(Listing, payload)
      const plain = all.map((each) => ({ id: hex(each.client), name: nameToText(each.name) }))
      assert.deepEqual(plain, decoded.clients)
      break
    }
    case 'key': {
      const { client, publicKey } = sameAgain(PublicKeyOf, payload)
      assert.deepEqual([hex(client), hex(publicKey)], [decoded.targetId, decoded.publicKey])
      break
    }
    case 'send': {
      const { recipient, message } = sameAgain(Receipt, payload)
      assert.deepEqual([hex(recipient), message], [decoded.toId, decoded.messageId])
      break
    }
    case 'fetch':
      checkDelivery(decoded, payload)
  }
}

function sameAgain<T>(codec: Codec<T>, payload: Uint8Array): T {
  const value = decode(codec, payload)
  assert.equal(hex(encode(codec, value)), hex(payload))
  return value
}

function checkDelivery(decoded: Fields, payload: Uint8Array): void {
  for (const pieces of cuttings(payload)) {
    const { messages, refused } = readDelivery(pieces)
    assert.equal(refused, undefined)
    assert.deepEqual(
      messages.map(({ head }) => head),
      decoded.messages.map(headOf),
    )
    const again = joined(...messages.flatMap(({ head, content }) => [encode(Delivered, head), content]))
    assert.equal(Buffer.compare(again, payload), 0)
  }
}

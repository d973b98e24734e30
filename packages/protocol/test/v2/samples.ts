import fc from 'fast-check'
import { decode } from '../../src/codec.ts'
import { ClientId, type MessageType, messageTypes, Name, PublicKey } from '../../src/v2/messages.ts'
import type { Request } from '../../src/v2/request.ts'

/** Plain values of version 2, and arbitrary ones. */

export function clientId(fill: number): ClientId {
  return decode(ClientId, new Uint8Array(16).fill(fill))
}

export const publicKey: PublicKey = decode(
  PublicKey,
  Uint8Array.from({ length: 160 }, (_, i) => 255 - i),
)

/** A name as it stands on the wire; `tail` stands behind the NUL. */
export function nameField(text: string | Uint8Array, tail: Uint8Array = new Uint8Array(0)): Uint8Array {
  const start = Buffer.from(text)
  const field = new Uint8Array(255)
  field.set(start)
  field.set(tail, start.length + 1)
  return field
}

export function name(text: string): Name {
  return decode(Name, nameField(text))
}

/** The bytes of a request, whatever stands in them. */
export function rawRequest(code: number, payloadBytes: number, payload: Uint8Array, version = 2): Uint8Array {
  const header = Buffer.alloc(22, 0xa1)
  header.writeUInt8(version, 16)
  header.writeUInt8(code, 17)
  header.writeUInt32LE(payloadBytes, 18)
  return Uint8Array.from([...header, ...payload])
}

/** What stands in front of a content, whatever stands in it. */
export function rawAddressed(type: number, contentBytes: number): Uint8Array {
  const addressed = Buffer.alloc(21, 0xb2)
  addressed.writeUInt8(type, 16)
  addressed.writeUInt32LE(contentBytes, 17)
  return Uint8Array.from(addressed)
}

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const record = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(fields, { noNullPrototype: true })

const id = bytesOf(16).map((bytes) => decode(ClientId, bytes))
const anyName = fc
  .string({ unit: 'binary', minLength: 2, maxLength: 100 })
  .filter((text) => !text.includes('\0') && Buffer.byteLength(text) <= 254 && [...text].length >= 2)
  .map(name)
const key = bytesOf(160).map((bytes) => decode(PublicKey, bytes))
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })
const type = fc.constantFrom(...(Object.keys(messageTypes) as MessageType[]))

export const arbitrary = {
  id,
  name: anyName,
  requestHeader: record({ client: id, version: fc.nat(255), code: fc.nat(255), payloadBytes: u32 }),
  responseHeader: record({ version: fc.nat(255), code: fc.nat(65_535), payloadBytes: u32 }),
  registration: record({ name: anyName, publicKey: key }),
  listing: fc.array(record({ client: id, name: anyName }), { maxLength: 4 }),
  target: record({ client: id }),
  publicKeyOf: record({ client: id, publicKey: key }),
  addressed: record({ recipient: id, type, contentBytes: u32 }),
  receipt: record({ recipient: id, message: u32 }),
  delivered: record({ sender: id, message: u32, type, contentBytes: u32 }),
}

/** A request with the content that goes with it. */
export const anyRequest: fc.Arbitrary<{ request: Request; content: Uint8Array }> = fc
  .tuple(id, id, arbitrary.registration, type, fc.uint8Array({ maxLength: 60 }), fc.nat(4))
  .map(([asker, other, registration, messageType, bytes, which]) => {
    const content = which === 4 && messageType !== 'key-request' ? bytes : new Uint8Array(0)
    const addressed = { recipient: other, type: messageType, contentBytes: content.length }
    const requests: Request[] = [
      { kind: 'register', asker, registration },
      { kind: 'list', asker },
      { kind: 'key', asker, target: other },
      { kind: 'fetch', asker },
      { kind: 'send', asker, addressed },
    ]
    return { request: requests[which] as Request, content }
  })

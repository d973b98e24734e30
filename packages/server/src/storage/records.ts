import { crc32 } from 'node:zlib'
import { messageTypes } from '@messageu/protocol/v2'
import { limits } from '../limits.ts'
import type { Client, Message } from '../storage.ts'
import type { RingConsumer, RingProducer } from './ring.ts'
import { copyInto, recordHeadBytes } from './ring.ts'

/** What the main thread asks the writer to make durable. */
export const recordKinds = { message: 1, client: 2, discard: 3, step: 4 } as const

/** Bytes of a message's head as it is delivered: sender 16, id 4, type 1, content size 4 (protocol 2 §3.5). */
export const sealedHeadBytes = 25

/** Stands in the head where version 2 has the type of a message: no message of version 2 has it. */
export const archiveType = 0x80

/** A message record's fields: position 8, time 8, content id 8, content digest 8, recipient 4, length 4. */
const messageFieldBytes = 40
const discardFieldBytes = 24
const clientFieldBytes = 16 + 16 + 16 + 160

/** Whether the content of a message of `size` bytes, head included, is a file. */
export function liesInFile(size: number): boolean {
  return size > sealedHeadBytes + limits.contentInRowBytesMax
}

export interface MessageFields {
  readonly position: number
  readonly at: number
  readonly recipient: number
  readonly digest: number
  readonly content: { id: number; bytes: number; digest: number } | undefined
  readonly sealed: Uint8Array
  /** Bytes of head and content together, wherever the content lies. */
  readonly bytes: number
}

/** A version 2 message id: the low 32 bits of the position, which are never 0. */
export function messageIdOf(position: number): number {
  return position >>> 0
}

/** The message id that stands in the head of a sealed message. */
export function messageIdInHead(sealed: Uint8Array): number {
  return new DataView(sealed.buffer, sealed.byteOffset, sealed.byteLength).getUint32(16, true)
}

/** Bytes of the content, as they stand in the head of a sealed message that begins at `from`. */
export function contentBytesInHead(view: DataView, from: number): number {
  return view.getUint32(from + 21, true)
}

/** The position after `position`; one whose message id would be 0 is skipped. */
export function positionAfter(position: number): number {
  return messageIdOf(position + 1) === 0 ? position + 2 : position + 1
}

function contentBytesOf({ content }: Message): number {
  return content instanceof Uint8Array ? content.length : content.bytes
}

export function messageRecordBytes({ content }: Message): number {
  return recordHeadBytes + messageFieldBytes + sealedHeadBytes + (content instanceof Uint8Array ? content.length : 0)
}

/**
 * Writes a message into the ring at `place`, sealed as its recipient will fetch it. The digest is left to the writer.
 * Written field by field rather than by codec: this is the hot path. A test compares it with the codec.
 */
export function writeMessage(ring: RingProducer, place: number, position: number, at: number, message: Message): void {
  const { view, bytes } = ring
  const { sender, room, type, content } = message
  const fields = ring.offset(place) + recordHeadBytes
  const stored = content instanceof Uint8Array ? undefined : content
  view.setFloat64(fields, position, true)
  view.setFloat64(fields + 8, at, true)
  view.setFloat64(fields + 16, stored?.id ?? 0, true)
  view.setFloat64(fields + 24, stored?.digest ?? 0, true)
  view.setUint32(fields + 32, room.recipient.number, true)
  const sealed = fields + messageFieldBytes
  view.setUint32(fields + 36, sealedHeadBytes + (content instanceof Uint8Array ? content.length : 0), true)
  bytes.set(sender.id, sealed)
  view.setUint32(sealed + 16, messageIdOf(position), true)
  view.setUint8(sealed + 20, messageTypes[type])
  view.setUint32(sealed + 21, contentBytesOf(message), true)
  if (content instanceof Uint8Array) copyInto(ring, content, sealed + sealedHeadBytes)
}

/** Where in the ring's bytes the sealed form of the message at `place` begins. */
export function sealedFrom(ring: RingProducer, place: number): number {
  return ring.offset(place) + recordHeadBytes + messageFieldBytes
}

export function readMessage(ring: RingConsumer, offset: number): MessageFields {
  const { view, bytes } = ring
  const length = view.getUint32(offset + 36, true)
  const sealed = new Uint8Array(bytes, offset + messageFieldBytes, length)
  const id = view.getFloat64(offset + 16, true)
  const contentBytes = view.getUint32(offset + messageFieldBytes + 21, true)
  return {
    position: view.getFloat64(offset, true),
    at: view.getFloat64(offset + 8, true),
    recipient: view.getUint32(offset + 32, true),
    digest: crc32(sealed),
    content: id === 0 ? undefined : { id, bytes: contentBytes, digest: view.getFloat64(offset + 24, true) },
    sealed,
    bytes: sealedHeadBytes + contentBytes,
  }
}

export interface Discard {
  readonly recipient: number
  readonly through: number
  readonly keeping: readonly number[]
  /** Ids of the contents that go with the messages. */
  readonly contents: readonly number[]
}

export function discardRecordBytes({ keeping, contents }: Discard): number {
  return recordHeadBytes + discardFieldBytes + 8 * (keeping.length + contents.length)
}

export function writeDiscard(ring: RingProducer, place: number, discard: Discard): void {
  const { view } = ring
  const fields = ring.offset(place) + recordHeadBytes
  view.setFloat64(fields, discard.through, true)
  view.setUint32(fields + 8, discard.recipient, true)
  view.setUint32(fields + 12, discard.keeping.length, true)
  view.setUint32(fields + 16, discard.contents.length, true)
  let at = fields + discardFieldBytes
  for (const number of [...discard.keeping, ...discard.contents]) {
    view.setFloat64(at, number, true)
    at += 8
  }
}

export function readDiscard({ view }: RingConsumer, offset: number): Discard {
  const keeping = view.getUint32(offset + 12, true)
  const contents = view.getUint32(offset + 16, true)
  const number = (index: number): number => view.getFloat64(offset + discardFieldBytes + 8 * index, true)
  return {
    through: view.getFloat64(offset, true),
    recipient: view.getUint32(offset + 8, true),
    keeping: Array.from({ length: keeping }, (_, i) => number(i)),
    contents: Array.from({ length: contents }, (_, i) => number(keeping + i)),
  }
}

export function clientRecordBytes({ name }: Client): number {
  return recordHeadBytes + clientFieldBytes + name.length
}

export function writeClient(ring: RingProducer, place: number, at: number, client: Client): void {
  const { view, bytes } = ring
  const fields = ring.offset(place) + recordHeadBytes
  view.setFloat64(fields, at, true)
  view.setUint32(fields + 8, client.number, true)
  view.setUint32(fields + 12, client.name.length, true)
  bytes.set(client.login, fields + 16)
  bytes.set(client.id, fields + 32)
  bytes.set(client.publicKey, fields + 48)
  bytes.set(client.name, fields + clientFieldBytes)
}

export interface ClientRow {
  readonly number: number
  readonly at: number
  readonly login: Uint8Array
  readonly id: Uint8Array
  readonly publicKey: Uint8Array
  readonly name: Uint8Array
}

export function readClient({ view, bytes }: RingConsumer, offset: number): ClientRow {
  const part = (from: number, length: number): Uint8Array => new Uint8Array(bytes, offset + from, length)
  return {
    at: view.getFloat64(offset, true),
    number: view.getUint32(offset + 8, true),
    login: part(16, 16),
    id: part(32, 16),
    publicKey: part(48, 160),
    name: part(clientFieldBytes, view.getUint32(offset + 12, true)),
  }
}

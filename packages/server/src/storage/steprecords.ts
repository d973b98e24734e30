import { crc32 } from 'node:zlib'
import { type BoxMessage, type ObjectChange, objectKinds, type Step } from '../archive.ts'
import type { StoredContent } from '../storage.ts'
import { crcOfBoth } from './crc.ts'
import { type SentNumbers, sentDigestBytes } from './deeds.ts'
import { archiveType, type MessageFields, messageIdOf, positionAfter, sealedHeadBytes } from './records.ts'
import { type RingConsumer, type RingProducer, recordHeadBytes } from './ring.ts'
import { FieldReader, FieldWriter } from './ringfields.ts'
import { entryAt, type SentRun } from './sentrun.ts'

/** Position of the first message, time, device that acknowledges (0: none), through: 8 each; five counts of 4 each. */
const stepFieldBytes = 52
/** Box, device, conversation, sequence of the first: 8 each. The entries of the run follow. */
const runFieldBytes = 32
/** Box 8, content id 8 (0: none), content digest 8, sealed length 4, whether a device has sent it 4. */
const messageFieldBytes = 32
/** Device, number, conversation, sequence: 8 each. The digest follows, and then, in the sealed form, the id. */
const sentFieldBytes = 32
/** Kind, whether it is kept, key length, value length: 4 each. */
const objectFieldBytes = 16
const trimFieldBytes = 16

const contentBytesAt = 21

/** A step, and what goes with it into the ring. */
export interface PlacedStep extends Step {
  /** Contents that lie in files, by the index of the message. */
  readonly files?: ReadonlyMap<number, StoredContent> | undefined
  /** Ids of contents that belong to no message any more. */
  readonly forgotten?: readonly number[]
}

/** Where a step stands in the order of things. */
export interface StepPlace {
  readonly positions: readonly number[]
  readonly at: number
}

export function stepRecordBytes({ objects, messages, run, trims, files, forgotten }: PlacedStep): number {
  let bytes = recordHeadBytes + stepFieldBytes + trimFieldBytes * (trims?.length ?? 0) + 8 * (forgotten?.length ?? 0)
  if (messages !== undefined)
    for (let i = 0; i < messages.length; i++) {
      const { content, sent } = messages[i] as BoxMessage // within its bounds
      bytes += messageFieldBytes + sealedHeadBytes + (files?.has(i) === true ? 0 : content.length)
      if (sent !== undefined) bytes += sentFieldBytes + sentDigestBytes
    }
  if (run !== undefined) bytes += runFieldBytes + run.length
  if (objects !== undefined)
    for (const { key, value } of objects) bytes += objectFieldBytes + key.length + (value?.length ?? 0)
  return bytes
}

/** Told where in the ring each message's sealed form begins. */
export interface SealedAt {
  sealedAt(index: number, offset: number): void
}

/** Writes a step into the ring at `place`. */
export function writeStep(
  ring: RingProducer,
  place: number,
  { positions, at }: StepPlace,
  { objects, messages, run, trims, acknowledged, files, forgotten }: PlacedStep,
  told: SealedAt,
): void {
  const fields = new FieldWriter(ring, ring.offset(place) + recordHeadBytes)
  fields.f64(positions[0] ?? 0)
  fields.f64(at)
  fields.f64(acknowledged?.device ?? 0)
  fields.f64(acknowledged?.through ?? 0)
  fields.u32(messages?.length ?? 0)
  fields.u32(run?.count ?? 0)
  fields.u32(objects?.length ?? 0)
  fields.u32(trims?.length ?? 0)
  fields.u32(forgotten?.length ?? 0)
  if (messages !== undefined)
    for (let i = 0; i < messages.length; i++) {
      const [message, position] = [messages[i] as BoxMessage, positions[i] as number] // within their bounds
      told.sealedAt(i, writeMessage(fields, position, message, files?.get(i)))
    }
  if (run !== undefined) writeRun(ring, fields, run, positions, told)
  if (objects !== undefined) for (const object of objects) writeObject(fields, object)
  if (trims !== undefined)
    for (const { box, through } of trims) {
      fields.f64(box)
      fields.f64(through)
    }
  if (forgotten !== undefined) for (const id of forgotten) fields.f64(id)
}

/**
 * Seals a message: id 16, low half of the position 4, type 1, content size 4, content unless it is a file. The digest is
 * left to the writer. Returns the offset of the sealed form.
 */
function writeMessage(
  fields: FieldWriter,
  position: number,
  { box, id, content, sent }: BoxMessage,
  file: StoredContent | undefined,
): number {
  fields.f64(box)
  fields.f64(file?.id ?? 0)
  fields.f64(file?.digest ?? 0)
  fields.u32(sealedHeadBytes + (file === undefined ? content.length : 0))
  fields.u32(sent === undefined ? 0 : 1)
  if (sent !== undefined) {
    fields.f64(sent.device)
    fields.f64(sent.number)
    fields.f64(sent.conversation)
    fields.f64(sent.sequence)
    fields.bytes(sent.digest)
  }
  const sealed = fields.at
  fields.bytes(id)
  fields.u32(messageIdOf(position))
  fields.u8(archiveType)
  fields.u32(content.length)
  if (file === undefined) fields.bytes(content)
  return sealed
}

/** The entries as they are, with the positions. They stand behind all other messages. */
function writeRun(
  { view }: RingProducer,
  fields: FieldWriter,
  { place, entries, written }: SentRun,
  positions: readonly number[],
  told: SealedAt,
): void {
  fields.f64(place.box)
  fields.f64(place.device)
  fields.f64(place.conversation)
  fields.f64(place.sequence)
  const shift = fields.at - (entries[0] as number) // no run is empty
  fields.bytes(written)
  const first = positions.length - entries.length
  for (let i = 0; i < entries.length; i++) {
    const entry = (entries[i] as number) + shift // within its bounds
    view.setUint32(entry + entryAt.position, messageIdOf(positions[first + i] as number), true)
    told.sealedAt(first + i, entry + entryAt.sealed)
  }
}

function writeObject(fields: FieldWriter, { kind, key, value }: ObjectChange): void {
  fields.u32(objectKinds[kind])
  fields.u32(value === undefined ? 0 : 1)
  fields.u32(key.length)
  fields.u32(value?.length ?? 0)
  fields.bytes(key)
  if (value !== undefined) fields.bytes(value)
}

/** What a step has for whoever makes it durable. Bytes are views of the ring. */
export interface StepRows {
  message(row: MessageFields): void
  /** `from`: where in the ring the send's digest and id lie. */
  sent(sent: SentNumbers, from: number): void
  object(kind: number, key: Uint8Array, value: Uint8Array | undefined): void
  trim(box: number, through: number): void
  acknowledged(device: number, through: number): void
  /** A content that belongs to no message any more. */
  forgotten(content: number): void
}

/** Reads a step whose fields begin at `offset`, in the order in which it takes effect. */
export function readStep(ring: RingConsumer, offset: number, rows: StepRows): void {
  const fields = new FieldReader(ring, offset)
  let position = fields.f64()
  const at = fields.f64()
  const device = fields.f64()
  const through = fields.f64()
  const messages = fields.u32()
  const run = fields.u32()
  const objects = fields.u32()
  const trims = fields.u32()
  const forgotten = fields.u32()
  for (let i = 0; i < messages; i++) {
    readMessage(fields, position, at, rows)
    position = positionAfter(position)
  }
  if (run > 0) readRun(fields, run, position, at, rows)
  for (let i = 0; i < objects; i++) readObject(fields, rows)
  for (let i = 0; i < trims; i++) rows.trim(fields.f64(), fields.f64())
  for (let i = 0; i < forgotten; i++) rows.forgotten(fields.f64())
  if (device !== 0) rows.acknowledged(device, through)
}

function readMessage(fields: FieldReader, position: number, at: number, rows: StepRows): void {
  const recipient = fields.f64()
  const id = fields.f64()
  const contentDigest = fields.f64()
  const length = fields.u32()
  if (fields.u32() === 1) {
    const [device, number, conversation, sequence] = [fields.f64(), fields.f64(), fields.f64(), fields.f64()]
    rows.sent({ device, number, conversation, sequence, position, at }, fields.at)
    fields.skip(sentDigestBytes)
  }
  const contentBytes = fields.u32Ahead(contentBytesAt)
  const sealed = fields.bytes(length)
  const content = id === 0 ? undefined : { id, bytes: contentBytes, digest: contentDigest }
  const bytes = sealedHeadBytes + contentBytes
  rows.message({ position, at, recipient, digest: crc32(sealed), content, sealed, bytes })
}

function readRun(fields: FieldReader, count: number, first: number, at: number, rows: StepRows): void {
  const [recipient, device, conversation, sequence] = [fields.f64(), fields.f64(), fields.f64(), fields.f64()]
  let position = first
  for (let i = 0; i < count; i++) {
    const bytes = fields.u32()
    const number = fields.f64()
    const contentCrc = fields.u32()
    rows.sent({ device, number, conversation, sequence: sequence + i, position, at }, fields.at)
    fields.skip(sentDigestBytes)
    const digest = crcOfBoth(fields.crcAhead(sealedHeadBytes), contentCrc, bytes - sealedHeadBytes)
    const sealed = fields.bytes(bytes)
    rows.message({ position, at, recipient, digest, content: undefined, sealed, bytes })
    position = positionAfter(position)
  }
}

function readObject(fields: FieldReader, rows: StepRows): void {
  const kind = fields.u32()
  const isKept = fields.u32() === 1
  const keyBytes = fields.u32()
  const valueBytes = fields.u32()
  const key = fields.bytes(keyBytes)
  rows.object(kind, key, isKept ? fields.bytes(valueBytes) : undefined)
}

import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import { ProtocolError } from '@messageu/protocol'
import type { SendId } from '@messageu/protocol/v3'
import {
  type Archive,
  archiveLimits,
  type BoxMessage,
  type BoxReader,
  type ObjectKind,
  type Sends,
  type SentRecord,
  type Step,
  type Stepped,
  type StoredMessage,
  type Told,
  type Waiting,
} from '../archive.ts'
import { Mailboxes } from './mailboxes.ts'
import { Positions } from './positions.ts'
import { sealedHeadBytes } from './records.ts'
import { checkStep } from './stepsize.ts'

export interface MemoryArchiveOptions {
  readonly nowMs: () => number
  /** Shared with whoever else gives out positions. */
  readonly positions?: Positions
  /** Whether the imagined disk has room for so many bytes more. */
  readonly diskHasRoom?: (bytes: number) => boolean
}

/** An archive that forgets everything when it ends: for tests, and as the plainest reading of the contract. */
export class MemoryArchive implements Archive {
  readonly #nowMs: () => number
  readonly #positions: Positions
  readonly #diskHasRoom: (bytes: number) => boolean
  readonly #objects = new Map<ObjectKind, Map<string, { key: Uint8Array; value: Uint8Array }>>()
  readonly #mailboxes = new Mailboxes()
  readonly #messages = new Map<number, StoredMessage & { readonly at: number }>()
  readonly #sends = new Map<number, DeviceSends>()
  readonly #acknowledged = new Map<number, number>()
  #refusal: ProtocolError | undefined
  #ended = false

  constructor({ nowMs, positions = new Positions(0), diskHasRoom = () => true }: MemoryArchiveOptions) {
    this.#nowMs = nowMs
    this.#positions = positions
    this.#diskHasRoom = diskHasRoom
  }

  get position(): number {
    return this.#positions.highest
  }

  async get(kind: ObjectKind, key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#mustBeOpen()
    return this.#objects.get(kind)?.get(keyOf(key))?.value
  }

  async scan(
    kind: ObjectKind,
    { prefix, after, limit }: { prefix: Uint8Array; after?: Uint8Array | undefined; limit: number },
  ): Promise<readonly { key: Uint8Array; value: Uint8Array }[]> {
    this.#mustBeOpen()
    return [...(this.#objects.get(kind)?.values() ?? [])]
      .filter(({ key }) => keyOf(key).startsWith(keyOf(prefix)))
      .filter(({ key }) => after === undefined || Buffer.compare(key, after) > 0)
      .sort((one, other) => Buffer.compare(one.key, other.key))
      .slice(0, limit)
  }

  async step(step: Step): Promise<Stepped> {
    const messages = messagesOf(step)
    this.#mustBeOpen()
    this.#mustBeAccepted(step)
    const at = step.at ?? this.#nowMs()
    const positions = messages.map(() => this.#positions.next())
    for (const { id, sent } of messages) if (sent) this.#sendsOf(sent.device).begin({ ...sent, id, position: 0, at: 0 })
    await Promise.resolve() // as in any archive, others may look before the step is durable
    this.#take(step, positions, at)
    return { positions, at }
  }

  take(step: Step, told: Told): void {
    this.step(step).then(
      (stepped) => told.durable(stepped),
      (error: Error) => told.refused(error),
    )
  }

  async sends(device: number): Promise<Sends> {
    this.#mustBeOpen()
    return this.#sendsOf(device)
  }

  peekSends(device: number): Sends {
    return this.#sendsOf(device)
  }

  async findSent(device: number, number: number): Promise<SentRecord | undefined> {
    this.#mustBeOpen()
    await Promise.resolve() // whatever was under way is settled then
    return this.#sends.get(device)?.durable.get(number)
  }

  async acknowledged(device: number): Promise<number> {
    this.#mustBeOpen()
    return this.#acknowledged.get(device) ?? 0
  }

  reader(box: number, after: number): BoxReader {
    return this.#mailboxes.reader(box, after)
  }

  countOf(box: number): number {
    return this.#mailboxes.countOf(box)
  }

  bytesOf(box: number): number {
    return this.#mailboxes.bytesOf(box)
  }

  newestOf(box: number): number {
    return this.#mailboxes.newestOf(box)
  }

  async read(waiting: readonly Waiting[]): Promise<readonly (StoredMessage | undefined)[]> {
    this.#mustBeOpen()
    return waiting.map(({ position }) => {
      const message = this.#messages.get(position)
      return message && { position, id: message.id, content: message.content }
    })
  }

  *occupiedBoxes(): Iterable<{ box: number; oldest: number }> {
    for (const box of this.#mailboxes.occupied()) yield { box, oldest: this.#mailboxes.oldestOf(box) }
  }

  async positionBefore(at: number): Promise<number> {
    this.#mustBeOpen()
    let highest = 0
    for (const message of this.#messages.values()) if (message.at < at) highest = Math.max(highest, message.position)
    return highest
  }

  /** Nothing is taken any more. */
  end(): void {
    this.#ended = true
  }

  #take(step: Step, positions: number[], at: number): void {
    const { objects = [], trims = [], acknowledged } = step
    for (const { kind, key, value } of objects) {
      const all = this.#objects.get(kind) ?? new Map<string, { key: Uint8Array; value: Uint8Array }>()
      this.#objects.set(kind, all)
      if (value === undefined) all.delete(keyOf(key))
      else all.set(keyOf(key), { key: key.slice(), value: value.slice() })
    }
    for (const [i, { box, id, content, sent }] of messagesOf(step).entries()) {
      const position = positions[i] as number // one for each message
      this.#mailboxes.add(box, position, sealedHeadBytes + content.length)
      this.#messages.set(position, { position, id: id.slice() as SendId, content: content.slice(), at }) // a copy of an id
      if (sent) this.#sendsOf(sent.device).end({ ...sent, id, position, at })
    }
    for (const { box, through } of trims) {
      for (const reader = this.#mailboxes.reader(box, 0); (reader.peek()?.position ?? Infinity) <= through; ) {
        this.#messages.delete(reader.peek()?.position ?? 0)
        reader.advance()
      }
      this.#mailboxes.discard(box, through, [])
    }
    if (acknowledged !== undefined) {
      const { device, through } = acknowledged
      this.#acknowledged.set(device, Math.max(this.#acknowledged.get(device) ?? 0, through))
    }
  }

  #sendsOf(device: number): DeviceSends {
    const sends = this.#sends.get(device) ?? new DeviceSends()
    this.#sends.set(device, sends)
    return sends
  }

  /** Whoever builds on a step that was refused is refused as well, as on a real disk. */
  #mustBeAccepted(step: Step): void {
    if (this.#refusal !== undefined) throw this.#refusal
    const bytes = checkStep(step)
    if (bytes === 0 || this.#diskHasRoom(bytes)) return
    this.#refusal = new ProtocolError('storage-full', 'the disk is full')
    setImmediate(() => {
      this.#refusal = undefined
    })
    throw this.#refusal
  }

  #mustBeOpen(): void {
    if (this.#ended) throw new ProtocolError('stopping', 'the storage is closed')
  }
}

/** What one device has sent, and what of it is under way. */
class DeviceSends implements Sends {
  readonly durable = new Map<number, SentRecord>()
  readonly #underWay = new Map<number, SentRecord>()
  highest = 0

  get recent(): ReadonlyMap<number, SentRecord> {
    const all = [...this.durable, ...this.#underWay]
    return new Map(all.filter(([number]) => number > this.highest - archiveLimits.recentSends))
  }

  has(number: number): boolean {
    return this.recent.has(number)
  }

  withId(id: SendId): SentRecord | undefined {
    return this.recent.values().find((record) => Buffer.compare(record.id, id) === 0)
  }

  begin(record: SentRecord): void {
    this.highest = Math.max(this.highest, record.number)
    this.#underWay.set(record.number, record)
  }

  end(record: SentRecord): void {
    this.#underWay.delete(record.number)
    this.durable.set(record.number, { ...record, id: record.id.slice() as SendId, digest: record.digest.slice() }) // copies
  }
}

function messagesOf({ messages = [], run }: Step): readonly BoxMessage[] {
  if (run === undefined) return messages
  const sent = run.numbers.map((_, i) => run.message(i))
  for (const [i, { content }] of sent.entries())
    assert.equal(run.crcOf(i), crc32(content), 'a row gets its digest by it')
  return [...messages, ...sent]
}

const keyOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

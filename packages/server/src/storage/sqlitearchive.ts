import { ProtocolError } from '@messageu/protocol'
import {
  type Archive,
  archiveLimits,
  type BoxMessage,
  type BoxReader,
  type ObjectKind,
  objectKinds,
  type Sends,
  type SentRecord,
  type Step,
  type Stepped,
  type StoredMessage,
  type Waiting,
} from '../archive.ts'
import { limits } from '../limits.ts'
import type { StoredContent } from '../storage.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { ContentFolder } from './contents.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Positions } from './positions.ts'
import type { Quotas } from './quotas.ts'
import type { ReaderThread } from './readerthread.ts'
import { liesInFile, recordKinds, sealedHeadBytes } from './records.ts'
import { Senders } from './senders.ts'
import { StepLine } from './stepline.ts'
import { type PlacedStep, stepRecordBytes, writeStep } from './steprecords.ts'
import { checkStep } from './stepsize.ts'
import { StoredMessages } from './storedmessages.ts'
import type { WriterThread } from './writerthread.ts'
import type { YoungMessages } from './young.ts'

/** What the two versions share, and what was loaded. */
export interface ArchiveParts {
  readonly nowMs: () => number
  readonly positions: Positions
  readonly mailboxes: Mailboxes
  readonly quotas: Quotas
  readonly contents: ContentFolder
  readonly writer: WriterThread
  readonly reader: ReaderThread
  readonly young: YoungMessages
  /** Ids of the contents that lie in files, by the position of their message. */
  readonly contentIds: Map<number, number>
  /** Ids of contents whose messages are gone. */
  readonly staleContents: readonly number[]
}

/** A step that was admitted and is not yet settled. */
interface UnderWay {
  readonly step: Step
  /** Bytes of disk that were promised. */
  readonly bytes: number
  /** Contents in files, by the index of the message. */
  files: Map<number, StoredContent> | undefined
  positions: number[]
  at: number
  state: 'held' | 'entered' | 'refused'
  resolve(stepped: Stepped): void
  reject(error: Error): void
}

/** The archive on SQLite, beside version 2: the same writer, reader, ring, journal and mailboxes. */
export class SqliteArchive implements Archive {
  readonly #parts: ArchiveParts
  readonly #line = new StepLine()
  readonly #senders: Senders
  readonly #acknowledgements: Acknowledgements
  readonly #messages: StoredMessages
  /** Contents whose messages are gone, and that are still named in the database. */
  #stale: number[]
  /** Bytes of steps that wait for files, their own or those of a step in front. */
  #heldBytes = 0
  #isClosing = false

  constructor(parts: ArchiveParts) {
    this.#parts = parts
    this.#senders = new Senders(parts.reader)
    this.#acknowledgements = new Acknowledgements(parts.reader)
    this.#messages = new StoredMessages(parts.young, parts.reader, parts.contents)
    this.#stale = [...parts.staleContents]
    if (this.#stale.length > 0) this.#forgetStale()
  }

  get position(): number {
    return this.#parts.positions.highest
  }

  get(kind: ObjectKind, key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#parts.reader.ask({ kind: 'object', object: objectKinds[kind], key })
  }

  scan(
    kind: ObjectKind,
    { prefix, after, limit }: { prefix: Uint8Array; after?: Uint8Array | undefined; limit: number },
  ): Promise<readonly { key: Uint8Array; value: Uint8Array }[]> {
    return this.#parts.reader.ask({ kind: 'objects', object: objectKinds[kind], prefix, after, limit })
  }

  step(step: Step): Promise<Stepped> {
    return new Promise((resolve, reject) => {
      const bytes = this.#admit(step)
      const underWay: UnderWay = {
        step,
        bytes,
        files: undefined,
        positions: [],
        at: 0,
        state: 'held',
        resolve,
        reject,
      }
      for (const { id, sent } of step.messages ?? [])
        if (sent !== undefined) this.#senders.begin({ ...sent, id, position: 0, at: 0 })
      this.#heldBytes += heldBytesOf(underWay)
      this.#line.join(
        { enter: () => this.#enter(underWay), refuse: (error) => this.#refuse(underWay, error) },
        this.#filesOf(underWay),
      )
    })
  }

  sends(device: number): Promise<Sends> {
    return this.#senders.sends(device)
  }

  findSent(device: number, number: number): Promise<SentRecord | undefined> {
    return this.#senders.find(device, number)
  }

  acknowledged(device: number): Promise<number> {
    return this.#acknowledgements.of(device)
  }

  reader(box: number, after: number): BoxReader {
    return this.#parts.mailboxes.reader(box, after)
  }

  countOf(box: number): number {
    return this.#parts.mailboxes.countOf(box)
  }

  bytesOf(box: number): number {
    return this.#parts.mailboxes.bytesOf(box)
  }

  newestOf(box: number): number {
    return this.#parts.mailboxes.newestOf(box)
  }

  read(waiting: readonly Waiting[]): Promise<readonly (StoredMessage | undefined)[]> {
    return this.#messages.read(waiting)
  }

  *occupiedBoxes(): Iterable<{ box: number; oldest: number }> {
    const { mailboxes } = this.#parts
    for (const box of mailboxes.occupied())
      if (box >= archiveLimits.firstBox) yield { box, oldest: mailboxes.oldestOf(box) }
  }

  positionBefore(at: number): Promise<number> {
    return this.#parts.reader.ask({ kind: 'positionBefore', at })
  }

  /** Takes nothing new; resolves when no step waits for a file. The writer then settles the others. */
  async close(): Promise<void> {
    this.#isClosing = true
    await this.#line.drained()
  }

  /** Returns the bytes that it was promised. Throws what the step is refused with. */
  #admit(step: Step): number {
    this.#line.mustBeOpen()
    try {
      if (this.#isClosing) throw new ProtocolError('stopping', 'the storage is closed')
      const bytes = checkStep(step)
      if (this.#heldBytes + bytes > limits.queuedBytesMax)
        throw new ProtocolError('busy', 'more is to be stored than the disk takes')
      if (bytes > 0 && !this.#parts.quotas.promise(step.messages?.length ?? 0, bytes))
        throw new ProtocolError('storage-full', 'the disk has no room for more')
      return bytes
    } catch (error) {
      this.#line.turnedAway(error as Error)
      throw error
    }
  }

  /** Undefined if nothing of the step belongs into a file; else resolves when all of it is there and durable. */
  #filesOf(underWay: UnderWay): Promise<void> | undefined {
    const { messages = [] } = underWay.step
    if (!messages.some(isLarge)) return undefined
    const large = [...messages.entries()].filter(([, message]) => isLarge(message))
    return this.#storeFiles(underWay, large)
  }

  async #storeFiles(underWay: UnderWay, large: readonly [index: number, message: BoxMessage][]): Promise<void> {
    const files = new Map<number, StoredContent>()
    try {
      const outcomes = await Promise.allSettled(
        large.map(async ([index, { content }]) => files.set(index, await this.#parts.contents.store(content))),
      )
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
      underWay.files = files
    } finally {
      if (underWay.files === undefined || underWay.state === 'refused') await this.#removeFiles(files)
    }
  }

  #enter(underWay: UnderWay): void {
    const { writer, positions, young, nowMs } = this.#parts
    this.#heldBytes -= heldBytesOf(underWay)
    underWay.state = 'entered'
    const placed: PlacedStep = { ...underWay.step, files: underWay.files }
    writer.take({
      kind: recordKinds.step,
      bytes: stepRecordBytes(placed),
      write: (place) => {
        underWay.at = Math.floor(nowMs())
        underWay.positions = (placed.messages ?? []).map(() => positions.next())
        writeStep(writer.ring, place, underWay, placed, (i, offset) =>
          young.note(underWay.positions[i] as number, place, offset),
        )
      },
      durable: () => this.#durable(underWay),
      refused: (error) => {
        this.#refuse(underWay, error)
        this.#line.refused(error)
      },
    })
  }

  #durable({ step, bytes, files, positions, at, resolve }: UnderWay): void {
    const { messages = [], trims = [], acknowledged } = step
    if (bytes > 0) this.#parts.quotas.giveBack(messages.length, bytes)
    for (const [i, { box, id, content, sent }] of messages.entries()) {
      const position = positions[i] as number // one for each message
      this.#parts.mailboxes.add(box, position, sealedHeadBytes + content.length)
      const file = files?.get(i)
      if (file !== undefined) this.#parts.contentIds.set(position, file.id)
      if (sent !== undefined) this.#senders.accepted({ ...sent, id, position, at })
    }
    for (const { box, through } of trims) this.#trim(box, through)
    if (acknowledged !== undefined) this.#acknowledgements.acknowledged(acknowledged.device, acknowledged.through)
    resolve({ positions, at })
  }

  #refuse(underWay: UnderWay, error: Error): void {
    const { step, bytes, files, reject } = underWay
    if (underWay.state === 'held') this.#heldBytes -= heldBytesOf(underWay)
    underWay.state = 'refused'
    if (bytes > 0) this.#parts.quotas.giveBack(step.messages?.length ?? 0, bytes)
    for (const { sent } of step.messages ?? []) if (sent !== undefined) this.#senders.refused(sent.device, sent.number)
    // any other error leaves open whether the step is durable: the next start knows
    if (files !== undefined && error instanceof ProtocolError) void this.#removeFiles(files)
    reject(error)
  }

  #removeFiles(files: ReadonlyMap<number, StoredContent>): Promise<void> {
    return this.#parts.contents.remove(Array.from(files.values(), ({ id }) => id))
  }

  #trim(box: number, through: number): void {
    const { mailboxes, contentIds } = this.#parts
    const before = this.#stale.length
    if (contentIds.size > 0)
      mailboxes.walk(box, (position, bytes) => {
        const id = position <= through && liesInFile(bytes) ? contentIds.get(position) : undefined
        if (id !== undefined) {
          contentIds.delete(position)
          this.#stale.push(id)
        }
        return position < through
      })
    mailboxes.discard(box, through, [])
    if (this.#stale.length > before) this.#forgetStale()
  }

  /** Takes contents out of the database, and then away. If that cannot be now, the next trim or start does it. */
  #forgetStale(): void {
    const { writer, contents } = this.#parts
    const forgotten = this.#stale
    this.#stale = []
    const placed: PlacedStep = { forgotten }
    writer.take({
      kind: recordKinds.step,
      bytes: stepRecordBytes(placed),
      write: (place) => writeStep(writer.ring, place, { positions: [], at: 0 }, placed, () => {}),
      durable: () => void contents.remove(forgotten),
      refused: () => this.#stale.push(...forgotten),
    })
  }
}

const isLarge = ({ content }: BoxMessage): boolean => liesInFile(sealedHeadBytes + content.length)

/** A step that waits costs something, whatever its size. */
function heldBytesOf({ bytes }: UnderWay): number {
  return Math.max(bytes, 1024)
}

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
  type Told,
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
import { type PlacedStep, type SealedAt, stepRecordBytes, writeStep } from './steprecords.ts'
import { checkStep, messagesIn } from './stepsize.ts'
import { StepUnderWay, type StepWay } from './stepunderway.ts'
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

/** The archive on SQLite, beside version 2: the same writer, reader, ring, journal and mailboxes. */
export class SqliteArchive implements Archive {
  readonly #parts: ArchiveParts
  readonly #way: StepWay
  readonly #messages: StoredMessages
  /** Contents whose messages are gone, and that are still named in the database. */
  #stale: number[]
  #isClosing = false

  constructor(parts: ArchiveParts) {
    this.#parts = parts
    this.#way = {
      ...parts,
      line: new StepLine(),
      senders: new Senders(parts.reader),
      acknowledgements: new Acknowledgements(parts.reader),
      held: { bytes: 0 },
      trim: (box, through) => this.#trim(box, through),
    }
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
    return new Promise((resolve, refused) =>
      this.take(step, { durable: ({ positions, at }) => resolve({ positions, at }), refused }),
    )
  }

  take(step: Step, told: Told): void {
    let promised: number
    try {
      promised = this.#admit(step)
    } catch (error) {
      told.refused(error as Error) // nothing else is thrown
      return
    }
    const underWay = new StepUnderWay(this.#way, step, told, promised)
    this.#way.line.join(underWay, this.#filesOf(step, underWay))
  }

  sends(device: number): Promise<Sends> {
    return this.#way.senders.sends(device)
  }

  peekSends(device: number): Sends | undefined {
    return this.#way.senders.peek(device)
  }

  findSent(device: number, number: number): Promise<SentRecord | undefined> {
    return this.#way.senders.find(device, number)
  }

  acknowledged(device: number): Promise<number> {
    return this.#way.acknowledgements.of(device)
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
    await this.#way.line.drained()
  }

  /** Returns the bytes that it was promised. Throws what the step is refused with. */
  #admit(step: Step): number {
    const { line, held } = this.#way
    line.mustBeOpen()
    try {
      if (this.#isClosing) throw new ProtocolError('stopping', 'the storage is closed')
      const bytes = checkStep(step)
      if (held.bytes + bytes > limits.queuedBytesMax)
        throw new ProtocolError('busy', 'more is to be stored than the disk takes')
      if (bytes > 0 && !this.#parts.quotas.promise(messagesIn(step), bytes))
        throw new ProtocolError('storage-full', 'the disk has no room for more')
      return bytes
    } catch (error) {
      line.turnedAway(error as Error)
      throw error
    }
  }

  /** Undefined if nothing of the step belongs into a file; else resolves when all of it is there and durable. */
  #filesOf({ messages = [] }: Step, underWay: StepUnderWay): Promise<void> | undefined {
    if (!messages.some(isLarge)) return undefined
    const large = [...messages.entries()].filter(([, message]) => isLarge(message))
    return this.#storeFiles(underWay, large)
  }

  async #storeFiles(underWay: StepUnderWay, large: readonly [index: number, message: BoxMessage][]): Promise<void> {
    const { contents } = this.#parts
    const files = new Map<number, StoredContent>()
    try {
      const outcomes = await Promise.allSettled(
        large.map(async ([index, { content }]) => files.set(index, await contents.store(content))),
      )
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
      underWay.files = files
    } finally {
      if (underWay.files === undefined || underWay.isRefused)
        await contents.remove(Array.from(files.values(), ({ id }) => id))
    }
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
      write: (place) => writeStep(writer.ring, place, { positions: [], at: 0 }, placed, nobody),
      durable: () => void contents.remove(forgotten),
      refused: () => this.#stale.push(...forgotten),
    })
  }
}

/** There are no messages in such a step. */
const nobody: SealedAt = { sealedAt() {} }

const isLarge = ({ content }: BoxMessage): boolean => liesInFile(sealedHeadBytes + content.length)

import { setImmediate } from 'node:timers/promises'
import { ProtocolError } from '@messageu/protocol'
import type { ConversationId } from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import { boxOf } from './boxes.ts'
import { type Conversation, type ConversationState, type Interval, keyOf, open } from './conversation.ts'
import type { Ledgers } from './ledgers.ts'
import { afterReading } from './membership.ts'
import { Recent } from './recent.ts'
import type { Directory } from './services.ts'
import { type Shelf, sequenceObject } from './shelf.ts'

/** From something passed to its trim: what passes meanwhile goes with it. */
const delayMs = 250
/** Conversations known to wait for somebody. Beyond that it is forgotten, and found out again. */
const waitingMax = 100_000
/** Devices without a session of which it is remembered how far they were. */
const rememberedMax = 100_000

/** One for messages and one for commits. */
const boxesPerConversation = 2

/** Calls later, once. Returns how to call it off. */
export type Schedule = (afterMs: number, run: () => void) => () => void

export interface TrimmingParts {
  readonly archive: Archive
  readonly directory: Pick<Directory, 'deviceByNumber'>
  readonly shelf: Shelf
  readonly ledgers: Ledgers
  readonly schedule: Schedule
  /** How far the session of a device is; undefined without one. */
  readonly passedBy: (device: number) => number | undefined
}

/** The reader of a box that is farthest behind; nobody if all have read everything. */
interface Slowest {
  readonly box: number
  readonly device: number | undefined
  readonly cursor: number
  /** The newest position in the box when it was looked at: of what came later nothing is known. */
  readonly newest: number
}

/**
 * Forgets what every reader of a conversation has passed. Looks only at conversations in which somebody got on, and not
 * at those that are known to wait for somebody else.
 */
export class Trimming implements Disposable {
  readonly #parts: TrimmingParts
  readonly #due = new Map<string, ConversationId>()
  /** Which devices a conversation waits for, one for each box that holds something; and what waits for a device. */
  readonly #slowest = new Map<string, readonly number[]>()
  readonly #waiting = new Map<number, Map<string, ConversationId>>()
  readonly #passed = new Recent<number>(rememberedMax)
  #callOff: (() => void) | undefined
  #sweeping: Promise<void> | undefined

  constructor(parts: TrimmingParts) {
    this.#parts = parts
  }

  /** `device`, or anybody, got on in a conversation. */
  note(conversation: ConversationId, device?: number): void {
    const slowest = this.#slowest.get(keyOf(conversation)) ?? []
    const isHeldUp = slowest.length === boxesPerConversation && device !== undefined && !slowest.includes(device)
    if (!isHeldUp) this.#add(conversation)
  }

  /** A device is no reader any more: nobody will ever fetch what waits for it alone. */
  async dropped(device: number): Promise<void> {
    this.moved(device)
    const { archive } = this.#parts
    const box = boxOf('welcome', device)
    const through = archive.newestOf(box)
    if (through === 0) return
    try {
      await archive.step({ trims: [{ box, through }] })
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error // full or busy: retention does it
    }
  }

  /** A device got on, or is no reader any more: whatever waits for it is looked at again. */
  moved(device: number): void {
    for (const conversation of this.#waiting.get(device)?.values() ?? []) this.#add(conversation)
  }

  /** The session of a device ends; so far it was. */
  remember(device: number, passed: number): void {
    this.#passed.set(String(device), passed)
  }

  /** Trims all that is due now. */
  async sweep(): Promise<void> {
    while (this.#due.size > 0) {
      this.#sweeping ??= this.#trimDue().finally(() => {
        this.#sweeping = undefined
      })
      await this.#sweeping
    }
  }

  [Symbol.dispose](): void {
    this.#callOff?.()
    this.#due.clear()
  }

  #add(conversation: ConversationId): void {
    this.#due.set(keyOf(conversation), conversation)
    this.#callOff ??= this.#parts.schedule(delayMs, () => {
      this.#callOff = undefined
      void this.sweep()
    })
  }

  async #trimDue(): Promise<void> {
    for (const [key, conversation] of this.#due) {
      this.#due.delete(key)
      try {
        await this.#trim(key, conversation)
      } catch (error) {
        // nothing is lost: what stays is trimmed when something happens there, or by retention
        if (!(error instanceof ProtocolError)) throw error
      }
    }
  }

  async #trim(key: string, id: ConversationId): Promise<void> {
    const { ledgers, shelf } = this.#parts
    const conversation = await shelf.find(id)
    if (conversation === undefined) return
    const { state, boxes } = conversation
    const slowest = [await this.#slowestIn(state, boxes.application), await this.#slowestIn(state, boxes.handshake)]
    // whoever came or went meanwhile has to be looked at as well
    if (!shelf.holds(conversation) || conversation.state !== state) return this.#add(id)

    const trims = slowest
      .map(({ box, cursor, newest }) => ({ box, through: Math.min(cursor, newest) }))
      .filter(({ box, through }) => this.#oldestIn(box) <= through)
    if (trims.length > 0) {
      await this.#forget(conversation, trims)
      ledgers.peek(state.creator)?.recount(conversation.number)
    }
    const waiting = slowest.filter(({ box }) => this.#oldestIn(box) !== open)
    this.#await(
      key,
      id,
      waiting.map(({ device }) => device).filter((device) => device !== undefined),
    )
    if (state.isClosed && state.intervals.length > 0 && waiting.length === 0) await this.#end(conversation, state)
    // who got on before it was known that they are waited for
    for (const { device, cursor } of waiting)
      if (device !== undefined && (await this.#cursorOf(device)) > cursor) this.#add(id)
  }

  async #forget(conversation: Conversation, trims: readonly { box: number; through: number }[]): Promise<void> {
    const { archive, shelf } = this.#parts
    const { application } = conversation.boxes
    const isEmptied = trims.some(({ box, through }) => box === application && through >= archive.newestOf(box))
    try {
      await shelf.maintain(conversation, { trims, objects: isEmptied ? [sequenceObject(conversation)] : [] })
    } catch (error) {
      if (!isEmptied || !(error instanceof ProtocolError) || error.reason !== 'storage-full') throw error
      // a full disk takes no object; the newest message tells the sequence as well, if it stays
      await setImmediate() // until then everything is refused that may have been built on the step
      if (!shelf.holds(conversation)) return
      const kept = trims.map(({ box, through }) => ({ box, through: box === application ? through - 1 : through }))
      await shelf.maintain(conversation, { trims: kept })
    }
  }

  /** Nothing waits any more in a conversation that has closed. */
  async #end(conversation: Conversation, state: ConversationState): Promise<void> {
    const { shelf } = this.#parts
    if (!shelf.holds(conversation) || conversation.state !== state) return
    await shelf.change(conversation, { state: afterReading(state), sequence: conversation.sequence })
  }

  /** Remembers whom a conversation waits for. */
  #await(key: string, id: ConversationId, devices: readonly number[]): void {
    for (const before of this.#slowest.get(key) ?? []) this.#stopWaiting(before, key)
    this.#slowest.delete(key)
    if (devices.length === 0) return
    if (this.#slowest.size >= waitingMax) {
      this.#slowest.clear()
      this.#waiting.clear()
    }
    this.#slowest.set(key, devices)
    for (const device of devices) {
      const waiting = this.#waiting.get(device) ?? new Map<string, ConversationId>()
      this.#waiting.set(device, waiting)
      waiting.set(key, id)
    }
  }

  #stopWaiting(device: number, key: string): void {
    const waiting = this.#waiting.get(device)
    waiting?.delete(key)
    if (waiting?.size === 0) this.#waiting.delete(device)
  }

  #oldestIn(box: number): number {
    return this.#parts.archive.reader(box, 0).peek()?.position ?? open
  }

  async #slowestIn({ intervals }: ConversationState, box: number): Promise<Slowest> {
    const oldest = this.#oldestIn(box)
    const newest = this.#parts.archive.newestOf(box)
    let slowest: Slowest = { box, device: undefined, cursor: open, newest }
    if (oldest === open) return slowest
    for (const interval of intervals) {
      if (interval.until < oldest) continue // nothing of it is left here
      const cursor = await this.#cursorIn(interval)
      if (cursor >= slowest.cursor || (await this.#isGone(interval.device))) continue
      slowest = { box, device: interval.device, cursor, newest }
    }
    return slowest
  }

  /** Everything up to here in a conversation has no meaning any more for whoever has this interval. */
  async #cursorIn({ device, after, until }: Interval): Promise<number> {
    const cursor = await this.#cursorOf(device)
    return cursor >= until ? open : Math.max(cursor, after)
  }

  async #cursorOf(device: number): Promise<number> {
    const passed = this.#parts.passedBy(device) ?? this.#passed.get(String(device)) ?? 0
    return Math.max(passed, await this.#parts.archive.acknowledged(device))
  }

  async #isGone(device: number): Promise<boolean> {
    const found = await this.#parts.directory.deviceByNumber(device)
    return found === undefined || !found.isListed
  }
}

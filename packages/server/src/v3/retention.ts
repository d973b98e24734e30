import { setImmediate } from 'node:timers/promises'
import { decode, encode, list, ProtocolError, struct, u64, utf8Encode } from '@messageu/protocol'
import { limits } from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import { type BoxKind, ownerOf } from './boxes.ts'
import { type Conversation, open } from './conversation.ts'
import type { Ledgers } from './ledgers.ts'
import { sequenceIn } from './letters.ts'
import type { Clock } from './services.ts'
import type { Shelf } from './shelf.ts'
import type { Schedule, Trimming } from './trimming.ts'

/** How often the age is written down: so much of it a restart may forget. */
const tickMs = 10 * 60_000
/** How far marks are apart: so much longer a message may stay. */
const markEveryMs = 6 * 3_600_000
const marksMax = Math.ceil(limits.handshakeRetentionMs / markEveryMs) + 2
/** Boxes looked at before others get their turn. */
const boxesPerTurn = 4096
const key = utf8Encode('retention')

/** How old the server was when it had given out a position. */
const Mark = struct({ ageMs: u64, position: u64 })
const Kept = struct({ ageMs: u64, marks: list(Mark, { max: marksMax }) })

const retentionMs: Readonly<Record<BoxKind, number>> = {
  application: limits.retentionMs,
  handshake: limits.handshakeRetentionMs,
  welcome: limits.handshakeRetentionMs,
}

export interface RetentionParts {
  readonly archive: Archive
  readonly shelf: Shelf
  readonly ledgers: Ledgers
  readonly trimming: Trimming
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly schedule: Schedule
}

/**
 * Forgets what has waited for too long. Protocol 3 §7.5.
 *
 * Time is the server's age: what its monotonic clock has counted while it ran, added up over restarts. A wall clock that
 * jumps, or is set wrong while the server is down, expires nothing; and nobody could fetch while it was down. Marks tell
 * which position belongs to which age, so that no message needs to be looked at.
 */
export class Retention implements Disposable {
  readonly #parts: RetentionParts
  #ageMs: number
  #marks: readonly { ageMs: number; position: number }[]
  #lookedAtMs: number
  #callOff: (() => void) | undefined

  private constructor(
    parts: RetentionParts,
    { ageMs, marks }: { ageMs: number; marks: readonly { ageMs: number; position: number }[] },
  ) {
    this.#parts = parts
    this.#ageMs = ageMs
    this.#marks = marks
    this.#lookedAtMs = parts.clock.monotonicMs()
  }

  static async open(parts: RetentionParts): Promise<Retention> {
    const stored = await parts.archive.get('server', key)
    return new Retention(parts, stored === undefined ? { ageMs: 0, marks: [] } : decode(Kept, stored))
  }

  /** Works by itself from now on. */
  start(failed: (error: unknown) => void): void {
    this.#callOff = this.#parts.schedule(tickMs, () => {
      this.tick().then(() => this.start(failed), failed)
    })
  }

  [Symbol.dispose](): void {
    this.#callOff?.()
  }

  /** Counts the time since the last look, and forgets what is due. */
  async tick(): Promise<void> {
    const { archive, clock } = this.#parts
    const nowMs = clock.monotonicMs()
    this.#ageMs += Math.max(0, Math.floor(nowMs - this.#lookedAtMs))
    this.#lookedAtMs = nowMs
    const newest = this.#marks.at(-1)
    const isMarkDue = newest === undefined || this.#ageMs - newest.ageMs >= markEveryMs
    if (isMarkDue) this.#mark(archive.position)
    try {
      await archive.step({
        objects: [{ kind: 'server', key, value: encode(Kept, { ageMs: this.#ageMs, marks: this.#marks }) }],
      })
      await this.#forgetDue()
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error // full or busy: the next tick does it
    }
  }

  /** Keeps what is needed: the newest mark that is old enough for everything, and those behind it. */
  #mark(position: number): void {
    const marks = [...this.#marks, { ageMs: this.#ageMs, position }]
    const needed = marks.findLastIndex(({ ageMs }) => this.#ageMs - ageMs >= limits.handshakeRetentionMs)
    this.#marks = marks.slice(Math.max(0, needed, marks.length - marksMax))
  }

  /** The highest position that is certainly as old as this. */
  #positionOfAge(ageMs: number): number {
    return this.#marks.findLast((mark) => this.#ageMs - mark.ageMs >= ageMs)?.position ?? 0
  }

  async #forgetDue(): Promise<void> {
    const { archive } = this.#parts
    const through: Readonly<Record<BoxKind, number>> = {
      application: this.#positionOfAge(retentionMs.application),
      handshake: this.#positionOfAge(retentionMs.handshake),
      welcome: this.#positionOfAge(retentionMs.welcome),
    }
    if (through.application === 0 && through.handshake === 0) return
    let looked = 0
    for (const { box, oldest } of archive.occupiedBoxes()) {
      if (++looked % boxesPerTurn === 0) await setImmediate()
      const owner = ownerOf(box)
      if (owner === undefined || oldest > through[owner.kind]) continue
      if (owner.kind === 'welcome') await archive.step({ trims: [{ box, through: through.welcome }] })
      else await this.#forgetIn(owner.number, through)
    }
  }

  async #forgetIn(number: number, through: Readonly<Record<BoxKind, number>>): Promise<void> {
    const { archive, ledgers, shelf, trimming } = this.#parts
    for (;;) {
      const conversation = await shelf.findByNumber(number)
      if (conversation === undefined) return
      const { boxes, state } = conversation
      const expiredThrough = await this.#sequenceBelow(conversation, through)
      if (!shelf.holds(conversation) || conversation.state !== state) continue
      const trims = [
        { box: boxes.application, through: through.application },
        { box: boxes.handshake, through: through.handshake },
      ].filter(({ box, through }) => (archive.reader(box, 0).peek()?.position ?? open) <= through)
      const expired = {
        expiredThrough: Math.max(state.expiredThrough, expiredThrough),
        expiredBelow: Math.max(state.expiredBelow, through.application + 1),
      }
      const { sequence } = conversation
      await shelf.change(conversation, { state: { ...state, ...expired }, sequence }, { trims })
      ledgers.peek(state.creator)?.recount(number)
      trimming.note(conversation.id) // what went may have been what it waited for
      return
    }
  }

  /** The sequence up to which application messages go: right below the first one that stays. */
  async #sequenceBelow(
    { boxes, sequence }: Conversation,
    { application }: Readonly<Record<BoxKind, number>>,
  ): Promise<number> {
    const { archive } = this.#parts
    const stays = archive.reader(boxes.application, application)
    for (let next = stays.peek(); next !== undefined; next = stays.peek()) {
      const [message] = await archive.read([next])
      const first = message && sequenceIn(message.content)
      if (first !== undefined) return first - 1
      stays.advance() // damaged
    }
    return sequence
  }
}

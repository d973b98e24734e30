import { ConversationError } from '@messageu/e2ee/conversation'
import { ProtocolError } from '@messageu/protocol'
import { type ConversationId, type Notice, toBase64url } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { fraction } from '../clock.ts'
import { ClientError } from '../errors.ts'
import { rowsOf } from '../rows.ts'
import { askForUnopened } from './asking.ts'
import { answerAsks } from './copies-out.ts'
import { confirmLeaving, forgetDepartures } from './departures.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { isNothing } from './duties.ts'
import { explainGaps } from './gaps-out.ts'
import { gather } from './gathering.ts'
import { repeatTitle } from './groups.ts'
import { Newcomer, update } from './healing.ts'
import { messagingLimits as limits } from './limits.ts'
import { accountOf } from './managing.ts'
import { compareEpoch, mayRenewInMs, mend } from './mending.ts'
import { beginOwnDevices } from './own-devices.ts'
import { forgetOld, keepPackages } from './packages.ts'
import { comeBack } from './returning.ts'
import { type ConversationRow, conversationRow } from './rows.ts'
import type { Sending } from './sending.ts'
import type { Settling } from './settling.ts'
import { perform, wantedByTurn } from './tending.ts'
import { isUntitled, sayTitle } from './untitled.ts'

/** When something is to be looked at, by the clock that never jumps; 0 for at once. */
interface Appointment {
  readonly conversation: ConversationId
  readonly dueMs: number
}

/**
 * Does what a member ought to do without being asked: keeps key packages, takes delisted devices out and brings listed
 * ones in, answers those who are stuck or could not open something, finds the way back where this device is stuck.
 *
 * One thing after the other, each decided by what is known when its turn comes. What fails is tried again later.
 */
export class Keeper implements Disposable {
  readonly #desk: Desk
  readonly #sending: Sending
  readonly #settling: Settling
  readonly #newcomer: Newcomer
  readonly #scope = new AbortController()
  readonly #wait: Wait = { signal: this.#scope.signal }
  /** Conversations to look at, by their ids as text. */
  readonly #agenda = new Map<string, Appointment>()
  /** When a duty towards others is due: not all members are to do it at once. */
  readonly #dueToOthers = new Map<string, number>()
  /** Conversations with members that are stuck. */
  readonly #stuck = new Set<string>()
  readonly #failures = new Map<string, number>()
  /** Before then no further attempt is made to get this device its place again. */
  readonly #mendable = new Map<string, { readonly dueMs: number; readonly standing: string }>()
  #packagesDueMs = 0
  #settlingDueMs = Number.POSITIVE_INFINITY
  #work: Promise<void> | undefined
  #timer: Disposable | undefined

  constructor(desk: Desk, sending: Sending, settling: Settling) {
    this.#desk = desk
    this.#sending = sending
    this.#settling = settling
    this.#newcomer = new Newcomer(desk)
  }

  /** A session is open: whatever was missed is looked for. */
  async opened(): Promise<void> {
    this.#packagesDueMs = 0
    await comeBack(this.#desk, this.#wait)
    await this.#lookAtAll()
  }

  /** Everything that waited has come: what was left for then is looked at. */
  async caughtUp(): Promise<void> {
    await this.#succeeds(() => forgetOld(this.#desk))
    await this.#lookAtAll()
  }

  touch(conversation: ConversationId): void {
    this.#agenda.set(toBase64url(conversation), { conversation, dueMs: 0 })
  }

  async hear(notice: Notice): Promise<void> {
    switch (notice.kind) {
      case 'list-changed':
        return this.#hearOfList(notice.body)
      case 'key-packages-low':
        this.#packagesDueMs = 0
        break
      case 'stuck':
        if (sameBytes(notice.body.device, this.#desk.tools.me.self.device)) return
        this.#stuck.add(toBase64url(notice.body.conversation))
        this.touch(notice.body.conversation)
        break
      case 'regenerated':
      case 'left':
        this.touch(notice.body.conversation)
        break
      case 'superseded':
      case 'delisted':
      case 'stopping':
      case 'request':
      case 'caught-up':
        return
    }
    this.wake()
  }

  /** Resolves when nothing is left that can be done now. */
  async idle(): Promise<void> {
    while (this.#work !== undefined) await this.#work
  }

  /** Something was stored: what is due by that is looked at. */
  stir(): void {
    const now = this.#desk.clock.monotonicMs()
    if (Array.from(this.#agenda.values()).some(({ dueMs }) => dueMs <= now)) this.wake()
  }

  wake(): void {
    if (this.#scope.signal.aborted) return
    this.#work ??= this.#run().finally(() => {
      this.#work = undefined
      this.#rest()
    })
  }

  /** Nothing more is begun. What is under way may wait for the session: when that has ended, it is over (`idle`). */
  [Symbol.dispose](): void {
    this.#scope.abort(new Error('the client was closed'))
    this.#timer?.[Symbol.dispose]()
  }

  async #hearOfList({ account, version, hash }: Extract<Notice, { kind: 'list-changed' }>['body']): Promise<void> {
    const { session, tools, store, bell } = this.#desk
    const told = { version, hash }
    // a list that is not good is an alarm, which is kept
    await tools.lists
      .refresh(store, account, { asker: session.asker, signal: this.#scope.signal, told })
      .catch(() => {})
    this.#sending.doubt()
    bell.ring()
    await this.#lookAtAll()
  }

  async #lookAtAll(): Promise<void> {
    const { ownDevices } = await accountOf(this.#desk)
    if (ownDevices !== undefined) this.touch(ownDevices)
    for await (const { row } of rowsOf(this.#desk.store, conversationRow)) this.touch(row.conversation)
    this.wake()
  }

  async #run(): Promise<void> {
    const { clock } = this.#desk
    if (this.#packagesDueMs <= clock.monotonicMs()) {
      this.#packagesDueMs = Number.POSITIVE_INFINITY
      const isKept = await this.#succeeds(() => keepPackages(this.#desk, this.#wait))
      if (!isKept) this.#packagesDueMs = clock.monotonicMs() + limits.dutyRetryMs
    }
    for (let next = this.#takeDue(); next !== undefined; next = this.#takeDue()) {
      const { conversation } = next
      let againMs: number | undefined
      const isDone = await this.#succeeds(async () => {
        againMs = await this.#tend(conversation)
      })
      this.#plan(conversation, isDone ? againMs : this.#retryMs(conversation))
      if (isDone && againMs === undefined) this.#failures.delete(toBase64url(conversation))
    }
    await this.#succeeds(() => answerAsks(this.#desk, this.#sending, this.#wait))
    let settlingMs: number | undefined = limits.dutyRetryMs
    await this.#succeeds(async () => {
      settlingMs = await this.#settling.tend(this.#wait)
    })
    this.#settlingDueMs = clock.monotonicMs() + (settlingMs ?? Number.POSITIVE_INFINITY)
  }

  #takeDue(): Appointment | undefined {
    if (this.#scope.signal.aborted) return undefined
    const now = this.#desk.clock.monotonicMs()
    for (const [name, appointment] of this.#agenda) {
      if (appointment.dueMs > now) continue
      this.#agenda.delete(name)
      return appointment
    }
    return undefined
  }

  #plan(conversation: ConversationId, afterMs: number | undefined): void {
    const name = toBase64url(conversation)
    if (afterMs === undefined || this.#agenda.has(name)) return
    this.#agenda.set(name, { conversation, dueMs: this.#desk.clock.monotonicMs() + afterMs })
  }

  /** What fails again and again is tried less and less often. */
  #retryMs(conversation: ConversationId): number {
    const name = toBase64url(conversation)
    const failures = this.#failures.get(name) ?? 0
    this.#failures.set(name, failures + 1)
    return Math.min(limits.dutyRetryMs * 2 ** Math.min(failures, 10), limits.dutyRetryMaxMs)
  }

  /** Until the next appointment. */
  #rest(): void {
    if (this.#scope.signal.aborted) return
    const dues = [this.#packagesDueMs, this.#settlingDueMs, ...Array.from(this.#agenda.values(), ({ dueMs }) => dueMs)]
    const due = Math.min(...dues)
    if (!Number.isFinite(due)) return
    // what has come up meanwhile, such as key packages that wait for the own list to be read, is not left to a timer
    if (due <= this.#desk.clock.monotonicMs()) {
      this.wake()
      return
    }
    this.#timer?.[Symbol.dispose]()
    // timers count whole milliseconds: one that ends too early would find nothing to do, and be set again
    const delayMs = Math.ceil(Math.max(0, due - this.#desk.clock.monotonicMs()))
    this.#timer = this.#desk.clock.after(delayMs, () => this.wake())
  }

  /** Nobody waits for a duty: one that cannot be done now is done later, by this device or another one. */
  async #succeeds(work: () => Promise<void>): Promise<boolean> {
    try {
      this.#scope.signal.throwIfAborted()
      await work()
      return true
    } catch (error) {
      if (!isExpected(error) && !this.#scope.signal.aborted)
        queueMicrotask(() => {
          throw error // a mistake of ours
        })
      return false
    }
  }

  /** Milliseconds until it is to be looked at again, if it is. */
  async #tend(conversation: ConversationId): Promise<number | undefined> {
    const before = await rowOf(this.#desk, conversation)
    if (before?.isDoubted && !(await compareEpoch(this.#desk, conversation, this.#wait))) return limits.gapMs
    const row = await rowOf(this.#desk, conversation)
    switch (row?.standing.kind) {
      case 'active':
        return this.#serve(row)
      case 'announced':
      case 'waiting':
      case 'stuck':
        return this.#mend(row)
      case 'left':
        await confirmLeaving(this.#desk, conversation, this.#wait)
        this.#forget(conversation)
        return undefined
      case 'request':
        return undefined
      case 'removed':
      case 'withdrawn':
        this.#forget(conversation)
        return undefined
      case undefined:
        this.#forget(conversation)
        return (await beginOwnDevices(this.#desk, conversation, this.#wait)) ? 0 : undefined
    }
  }

  /** Of what is not there any more, nothing is kept. */
  #forget(conversation: ConversationId): void {
    const name = toBase64url(conversation)
    for (const each of [this.#mendable, this.#failures, this.#dueToOthers, this.#stuck]) each.delete(name)
  }

  /** However often something happens that does not help: a server that spoils every attempt is not to keep us busy. */
  async #mend(row: ConversationRow): Promise<number> {
    const { conversation } = row
    const name = toBase64url(conversation)
    const standing = row.standing.kind
    const before = this.#mendable.get(name)
    if (before?.standing === standing) {
      const waitMs = before.dueMs - this.#desk.clock.monotonicMs()
      if (waitMs > 0) return waitMs
    } else this.#failures.delete(name) // another way back is open
    const retryMs = earlier(this.#retryMs(conversation), mayRenewInMs(this.#desk, row)) ?? 0
    this.#mendable.set(name, { dueMs: this.#desk.clock.monotonicMs() + retryMs, standing })
    await mend(this.#desk, conversation, this.#wait)
    return retryMs
  }

  async #serve(row: ConversationRow): Promise<number | undefined> {
    const { conversation } = row
    this.#mendable.delete(toBase64url(conversation))
    await gather(this.#desk, row, this.#wait)
    await forgetDepartures(this.#desk, conversation)
    const explainAgainMs = await explainGaps(this.#desk, row, this.#wait)
    const askMs = await askForUnopened(this.#desk, this.#sending, row, this.#wait)
    const askAgainMs = earlier(explainAgainMs, askMs)
    const { atOnce, later } = await wantedByTurn(this.#desk, conversation)
    await perform(this.#desk, conversation, atOnce, this.#wait)
    // an empty commit brings a fresh GroupInfo, by which a stuck member comes back. CONVERSATIONS D 4
    if (this.#stuck.delete(toBase64url(conversation))) await update(this.#desk, conversation, this.#wait)
    // what others have called it since has come by then
    if (this.#desk.isCaughtUp()) await repeatTitle(this.#desk, this.#sending, conversation, this.#wait)
    const isAsked = !isNothing(later) || (await isUntitled(this.#desk, conversation))
    let dutyMs = !isAsked ? this.#forgetDuty(conversation) : this.#untilDuty(conversation)
    if (dutyMs === 0) {
      dutyMs = this.#forgetDuty(conversation)
      await perform(this.#desk, conversation, later, this.#wait)
      await sayTitle(this.#desk, this.#sending, conversation, this.#wait)
    }
    const keysMs = await this.#newcomer.tend(conversation, this.#wait)
    return earlier(earlier(earlier(askAgainMs, dutyMs), keysMs), await this.#untilOwnAreHere(conversation))
  }

  /** An own device that was just listed has no key packages at the server yet. */
  async #untilOwnAreHere(conversation: ConversationId): Promise<number | undefined> {
    const { atOnce } = await wantedByTurn(this.#desk, conversation)
    return atOnce.missing.length > 0 ? this.#retryMs(conversation) : undefined
  }

  /** Whoever is concerned goes first; the others wait for a while that each has thrown for itself. CONVERSATIONS D 2 */
  #untilDuty(conversation: ConversationId): number {
    const name = toBase64url(conversation)
    const now = this.#desk.clock.monotonicMs()
    const span = limits.dutyDelayMaxMs - limits.dutyDelayMinMs
    const due =
      this.#dueToOthers.get(name) ?? Math.ceil(now + limits.dutyDelayMinMs + fraction(this.#desk.random) * span)
    this.#dueToOthers.set(name, due)
    return Math.max(0, due - now)
  }

  #forgetDuty(conversation: ConversationId): undefined {
    this.#dueToOthers.delete(toBase64url(conversation))
  }
}

function isExpected(error: unknown): boolean {
  return error instanceof ClientError || error instanceof ProtocolError || error instanceof ConversationError
}

function earlier(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other
  return Math.min(one, other)
}

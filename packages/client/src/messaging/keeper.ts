import { ConversationError } from '@messageu/e2ee/conversation'
import { ProtocolError } from '@messageu/protocol'
import type { ConversationId, Notice } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { rowsOf } from '../rows.ts'
import { Agenda } from './agenda.ts'
import { Care } from './care.ts'
import { answerAsks } from './copies-out.ts'
import type { Desk, Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import { accountOf } from './managing.ts'
import { forgetOld, keepPackages } from './packages.ts'
import { comeBack } from './returning.ts'
import { conversationRow } from './rows.ts'
import type { Sending } from './sending.ts'
import type { Settling } from './settling.ts'
import { repeatVerdicts } from './verdicts.ts'

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
  readonly #scope = new AbortController()
  readonly #wait: Wait = { signal: this.#scope.signal }
  readonly #agenda: Agenda
  readonly #care: Care
  /** When key packages are looked at, by the clock that never jumps, and by the one that they are good by. */
  #packagesDueMs = 0
  #packagesDueAt = 0
  #settlingDueMs = Number.POSITIVE_INFINITY
  #work: Promise<void> | undefined
  /** Key packages wait for nothing else: by them others bring this device to where it waits to be. */
  #keeping: Promise<void> | undefined
  #timer: Disposable | undefined

  constructor(desk: Desk, sending: Sending, settling: Settling) {
    this.#desk = desk
    this.#sending = sending
    this.#settling = settling
    this.#agenda = new Agenda(desk.clock)
    this.#care = new Care(desk, sending, this.#wait)
  }

  /** A session is open: whatever was missed is looked for. */
  async opened(): Promise<void> {
    this.#packagesDueMs = 0
    await comeBack(this.#desk, this.#wait)
    await this.#lookAtAll()
  }

  /** The server goes on from a copy: what it has forgotten of the account's own list, reading it gives back. */
  async restored(): Promise<void> {
    const { session, tools, store } = this.#desk
    const { signal } = this.#scope
    await tools.lists.refresh(store, tools.me.self.account, { asker: session.asker, signal })
  }

  /** Everything that waited has come: what was left for then is looked at. */
  async caughtUp(): Promise<void> {
    await this.#succeeds(() => forgetOld(this.#desk))
    await this.#lookAtAll()
  }

  touch(conversation: ConversationId): void {
    this.#agenda.touch(conversation)
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
        this.#care.hearStuck(notice.body.conversation)
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
    while (this.#work !== undefined || this.#keeping !== undefined) await Promise.all([this.#work, this.#keeping])
  }

  /** Something was stored: what is due by that is looked at. */
  stir(): void {
    if (this.#agenda.hasDue()) this.wake()
  }

  wake(): void {
    if (this.#scope.signal.aborted) return
    this.#work ??= this.#run().finally(() => {
      this.#work = undefined
      this.#rest()
    })
    if (!this.#arePackagesDue()) return
    this.#keeping ??= this.#keep().finally(() => {
      this.#keeping = undefined
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
    while (!this.#scope.signal.aborted) {
      const conversation = this.#agenda.takeDue()
      if (conversation === undefined) break
      await this.#tend(conversation)
    }
    await this.#succeeds(() => answerAsks(this.#desk, this.#sending, this.#wait))
    await this.#succeeds(() => repeatVerdicts(this.#desk, this.#sending, this.#wait))
    let settlingMs: number | undefined = limits.dutyRetryMs
    await this.#succeeds(async () => {
      settlingMs = await this.#settling.tend(this.#wait)
    })
    this.#settlingDueMs = clock.monotonicMs() + (settlingMs ?? Number.POSITIVE_INFINITY)
  }

  #arePackagesDue(): boolean {
    const { clock } = this.#desk
    return this.#packagesDueMs <= clock.monotonicMs() || this.#packagesDueAt <= clock.nowMs()
  }

  async #keep(): Promise<void> {
    this.#planPackages(limits.packagesEveryMs)
    const isKept = await this.#succeeds(() => keepPackages(this.#desk, this.#wait))
    if (!isKept) this.#planPackages(limits.dutyRetryMs)
    if (this.#desk.isCaughtUp()) await this.#succeeds(() => forgetOld(this.#desk))
  }

  #planPackages(afterMs: number): void {
    const { clock } = this.#desk
    this.#packagesDueMs = clock.monotonicMs() + afterMs
    this.#packagesDueAt = clock.nowMs() + afterMs
  }

  async #tend(conversation: ConversationId): Promise<void> {
    let againMs: number | undefined
    const isDone = await this.#succeeds(async () => {
      againMs = await this.#care.tend(conversation)
    })
    if (!isDone) againMs = this.#care.retryMs(conversation)
    else if (againMs === undefined) this.#care.succeeded(conversation)
    if (againMs !== undefined) this.#agenda.plan(conversation, againMs)
  }

  /** Until the next appointment. */
  #rest(): void {
    if (this.#scope.signal.aborted) return
    const due = Math.min(
      this.#keeping === undefined ? this.#packagesDueMs : Number.POSITIVE_INFINITY,
      this.#work === undefined ? Math.min(this.#settlingDueMs, this.#agenda.nextMs()) : Number.POSITIVE_INFINITY,
    )
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
}

function isExpected(error: unknown): boolean {
  return error instanceof ClientError || error instanceof ProtocolError || error instanceof ConversationError
}

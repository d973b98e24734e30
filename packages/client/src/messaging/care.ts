import { type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { fraction } from '../clock.ts'
import { askForUnopened } from './asking.ts'
import { confirmLeaving, forgetDepartures } from './departures.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { isNothing } from './duties.ts'
import { explainGaps } from './gaps-out.ts'
import { gather } from './gathering.ts'
import { repeatTitle } from './groups.ts'
import { Newcomer, update } from './healing.ts'
import { messagingLimits as limits } from './limits.ts'
import { compareEpoch, doubtIfWithheld, mayRenewInMs, mend } from './mending.ts'
import { beginOwnDevices } from './own-devices.ts'
import type { ConversationRow } from './rows.ts'
import type { Sending } from './sending.ts'
import { perform, wantedByTurn } from './tending.ts'
import { isUntitled, sayTitle } from './untitled.ts'

/** What one conversation at a time needs of this device, and how long each of it has to wait. */
export class Care {
  readonly #desk: Desk
  readonly #sending: Sending
  readonly #wait: Wait
  readonly #newcomer: Newcomer
  /** When a duty towards others is due: not all members are to do it at once. */
  readonly #dueToOthers = new Map<string, number>()
  /** Conversations with members that are stuck. */
  readonly #stuck = new Set<string>()
  readonly #failures = new Map<string, number>()
  /** Before then no further attempt is made to get this device its place again. */
  readonly #mendable = new Map<string, { readonly dueMs: number; readonly standing: string }>()

  constructor(desk: Desk, sending: Sending, wait: Wait) {
    this.#desk = desk
    this.#sending = sending
    this.#wait = wait
    this.#newcomer = new Newcomer(desk)
  }

  /** A member that cannot follow is waiting for a commit. */
  hearStuck(conversation: ConversationId): void {
    this.#stuck.add(toBase64url(conversation))
  }

  /** Milliseconds until it is to be looked at again, if it is. */
  async tend(conversation: ConversationId): Promise<number | undefined> {
    const withheldMs = await doubtIfWithheld(this.#desk, conversation)
    const before = await rowOf(this.#desk, conversation)
    if (before?.doubt !== undefined && !(await compareEpoch(this.#desk, conversation, this.#wait))) return limits.gapMs
    return earlier(withheldMs, await this.#tendByStanding(conversation))
  }

  async #tendByStanding(conversation: ConversationId): Promise<number | undefined> {
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
    const retryMs = earlier(this.retryMs(conversation), mayRenewInMs(this.#desk, row)) ?? 0
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
    return atOnce.missing.length > 0 ? this.retryMs(conversation) : undefined
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

  /** What fails again and again is tried less and less often. */
  retryMs(conversation: ConversationId): number {
    const name = toBase64url(conversation)
    const failures = this.#failures.get(name) ?? 0
    this.#failures.set(name, failures + 1)
    return Math.min(limits.dutyRetryMs * 2 ** Math.min(failures, 10), limits.dutyRetryMaxMs)
  }

  /** The next failure is the first again. */
  succeeded(conversation: ConversationId): void {
    this.#failures.delete(toBase64url(conversation))
  }
}

function earlier(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other
  return Math.min(one, other)
}

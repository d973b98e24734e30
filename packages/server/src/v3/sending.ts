import type { Accepted } from '@messageu/protocol/v3'
import type { Stepped } from '../archive.ts'
import { type Cleared, callAlone, type RunTold } from './accepted-run.ts'
import { type ConversationState, refusedFor } from './conversation.ts'
import { contentBytesOf, digestOf } from './letters.ts'
import { maySend, notPermitted } from './membership.ts'
import type { Parts } from './parts.ts'
import { answerBefore, isNew, type Named, turnOf } from './priors.ts'
import type { SendInPlace } from './sendinplace.ts'
import type { Device } from './services.ts'
import type { Welcomeness } from './strangers.ts'

/** What was found out about a send by waiting. */
interface Found {
  readonly isKnownNew: boolean
  readonly isPaid: boolean
  /** What others think of the sender, and in which state of the conversation. */
  readonly asked: { readonly state: ConversationState; readonly welcome: Welcomeness } | undefined
}

const nothingFound: Found = { isKnownNew: false, isPaid: false, asked: undefined }

/** What has to be waited for before it can be decided anew. */
export type Obstacle = (send: SendUnderWay) => Promise<unknown>

const findConversation: Obstacle = (send) => send.findConversation()
const lookForPrior: Obstacle = (send) => send.lookForPrior()

/**
 * Whether a message may be accepted now, by what is in memory; if not, what has to be waited for. Throws refusals.
 * Protocol 3 §6.6.
 */
export function decide(parts: Parts, device: Device, request: SendInPlace, found = nothingFound): Cleared | Obstacle {
  const { archive, ledgers, shelf, strangers } = parts
  const { sealedBytes, number } = request
  const conversation = shelf.peekFor(request)
  if (conversation === undefined) return findConversation
  const { state } = conversation
  const ledger = ledgers.peek(state.creator)
  if (ledger === undefined) return () => ledgers.ofNumber(state.creator)
  const sends = archive.peekSends(device.number)
  if (sends === undefined) return () => archive.sends(device.number)

  if (isNew(sends, request) === 'maybe' && (!found.isKnownNew || sends.has(number))) return lookForPrior
  const refused = refusedFor(conversation, () => maySend(state, device, request))
  if (refused !== undefined) return () => refused
  if (!found.isPaid) {
    const known = found.asked
    const welcome = known?.state === state ? known.welcome : strangers.to(conversation, device.account, 'message')
    if (welcome instanceof Promise) return (send) => send.ask(state, welcome)
    if (welcome?.isBlocked === true) throw notPermitted('no such conversation')
    if (welcome !== undefined && welcome.strangers.length > 0) return (send) => send.pay(welcome)
  }
  ledger.mustHaveRoom(conversation.number, contentBytesOf(sealedBytes), 'message')
  return { conversation, ledger }
}

/**
 * The same for a send behind one that was cleared in this turn, of its conversation, generation and epoch: true if it is
 * accepted as well, false if that has to be decided. Throws refusals.
 */
export function isClearedBehind(
  { archive }: Parts,
  device: Device,
  { ledger }: Cleared,
  request: SendInPlace,
): boolean {
  const sends = archive.peekSends(device.number)
  if (sends === undefined || isNew(sends, request) === 'maybe') return false
  ledger.mustHaveRoomBehind(contentBytesOf(request.sealedBytes))
  return true
}

/**
 * One send that has to wait for something: what is not in memory is loaded first; then it is decided and called in one
 * go. Whoever had to wait for anything decides anew, because others went on meanwhile. The bytes of the request must stay
 * as they are until the outcome is told.
 */
export class SendUnderWay implements RunTold {
  readonly #parts: Parts
  readonly #device: Device
  readonly #request: SendInPlace
  readonly #told: RunTold
  /** How it was answered when it came before. */
  #prior: Accepted | undefined
  #found: Found = nothingFound
  /** Gives the turn for this number to the next one. */
  #endTurn: (() => void) | undefined

  constructor(parts: Parts, device: Device, request: SendInPlace, told: RunTold) {
    this.#parts = parts
    this.#device = device
    this.#request = request
    this.#told = told
  }

  waitFor(obstacle: Obstacle): void {
    obstacle(this).then(
      () => this.#goOn(),
      (error: unknown) => this.refused(error),
    )
  }

  async findConversation(): Promise<void> {
    if ((await this.#parts.shelf.find(this.#request.conversation)) === undefined)
      throw notPermitted('no such conversation')
  }

  /** In the turn of the number, which lasts until the outcome is told. */
  async lookForPrior(): Promise<void> {
    await this.#takeTurn()
    this.#prior = await answerBefore(this.#parts.archive, this.#named)
    this.#found = { ...this.#found, isKnownNew: true }
  }

  /** What others think of the sender, as long as the conversation stays as it is. */
  async ask(state: ConversationState, welcome: Promise<Welcomeness>): Promise<void> {
    const asked = { state, welcome: await welcome }
    this.#found = { ...this.#found, asked }
  }

  pay(welcome: Welcomeness): Promise<void> {
    this.#found = { ...this.#found, isPaid: true } // unless it fails, and then this send has failed
    return this.#parts.strangers.charge(this.#device.account, welcome, this.#request.sealedBytes)
  }

  accepted(sequence: number, stepped: Stepped): void {
    this.#endTurn?.()
    this.#told.accepted(sequence, stepped)
  }

  refused(error: unknown): void {
    this.#endTurn?.()
    this.#told.refused(error)
  }

  #goOn(): void {
    if (this.#prior !== undefined) {
      const { sequence, position, at } = this.#prior
      this.accepted(sequence, { positions: [position], at })
      return
    }
    let verdict: Cleared | Obstacle
    try {
      verdict = decide(this.#parts, this.#device, this.#request, this.#found)
    } catch (error) {
      this.refused(error)
      return
    }
    if (typeof verdict === 'function') this.waitFor(verdict)
    else callAlone(this.#parts, this.#device, verdict, this.#request, this)
  }

  get #named(): Named {
    const { number: device } = this.#device
    const { number, id } = this.#request
    return { device, number, id, digest: digestOf(this.#request, device) }
  }

  #takeTurn(): Promise<void> {
    if (this.#endTurn !== undefined) return Promise.resolve()
    const { promise: over, resolve } = Promise.withResolvers<void>()
    this.#endTurn = resolve
    return new Promise((begin) => {
      void this.#parts.turns.take([turnOf({ device: this.#device.number, number: this.#request.number })], () => {
        begin()
        return over
      })
    })
  }
}

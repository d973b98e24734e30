import type { Accepted, Send } from '@messageu/protocol/v3'
import type { BoxMessage, Stepped, Told } from '../archive.ts'
import { type Conversation, type ConversationState, refusedFor } from './conversation.ts'
import type { ServerDeliveries } from './deliveries.ts'
import type { Later, Outcome } from './later.ts'
import type { Ledger } from './ledgers.ts'
import { Letter } from './letters.ts'
import { maySend, notPermitted } from './membership.ts'
import type { Parts } from './parts.ts'
import { answerBefore, isNew, type Named, turnOf } from './priors.ts'
import type { Device } from './services.ts'
import type { Welcomeness } from './strangers.ts'

/**
 * Accepts one application message: one step with the message and its record, nothing else. Protocol 3 §6.6.
 *
 * What is not in memory is loaded first; then it is decided and called in one go. Whoever had to wait for anything
 * decides anew, because others went on meanwhile; whoever had not gets by without a promise. The bytes of the request
 * must stay as they are until the outcome is told.
 */
export function send(parts: Parts, device: Device, request: Send): Later<Accepted> {
  return { tell: (outcome) => new SendUnderWay(parts, device, request, outcome).goOn() }
}

class SendUnderWay {
  readonly #parts: Parts
  readonly #device: Device
  readonly #request: Send
  readonly #outcome: Outcome<Accepted>
  readonly #letter: Letter
  readonly #named: Named
  /** How it was answered when it came before. */
  #prior: Accepted | undefined
  #isKnownNew = false
  #isPaid = false
  /** What was found out about the others, and in which state of the conversation. */
  #asked: { readonly state: ConversationState; readonly welcome: Welcomeness } | undefined
  /** Gives the turn for this number to the next one. */
  #endTurn: (() => void) | undefined

  constructor(parts: Parts, device: Device, request: Send, outcome: Outcome<Accepted>) {
    const { conversation, generation, sealed, number, id, epoch } = request
    this.#parts = parts
    this.#device = device
    this.#request = request
    this.#outcome = outcome
    this.#letter = Letter.of({ kind: 'application', conversation, generation, sealed, sender: device.number })
    this.#named = { device: device.number, number, id, digest: this.#letter.digest(epoch) }
  }

  goOn(): void {
    try {
      if (this.#prior !== undefined) this.done(this.#prior)
      else
        this.#decide()?.then(
          () => this.goOn(),
          (error: unknown) => this.failed(error),
        )
    } catch (error) {
      this.failed(error)
    }
  }

  done(accepted: Accepted): void {
    this.#endTurn?.()
    this.#outcome.done(accepted)
  }

  failed(error: unknown): void {
    this.#endTurn?.()
    this.#outcome.failed(error)
  }

  /** Calls the step, or returns what has to be waited for before it is decided anew. Throws refusals. */
  #decide(): Promise<unknown> | undefined {
    const { archive, ledgers, shelf, strangers } = this.#parts
    const { conversation: id, sealed } = this.#request
    const device = this.#device
    const conversation = shelf.peek(id)
    if (conversation === undefined) return this.#find()
    const { state } = conversation
    const ledger = ledgers.peek(state.creator)
    if (ledger === undefined) return ledgers.ofNumber(state.creator)
    const sends = archive.peekSends(device.number)
    if (sends === undefined) return archive.sends(device.number)

    if (isNew(sends, this.#named) === 'maybe') {
      if (!this.#isKnownNew || sends.recent.get(this.#named.number) !== undefined) return this.#lookForPrior()
    }
    const refused = refusedFor(conversation, () => maySend(state, device, this.#request))
    if (refused !== undefined) return refused
    const welcome = this.#isPaid ? undefined : this.#welcomeIn(conversation)
    if (welcome instanceof Promise) return welcome
    if (welcome?.isBlocked === true) throw notPermitted('no such conversation')
    if (welcome !== undefined && welcome.strangers.length > 0) {
      this.#isPaid = true // unless it fails, and then this send has failed
      return strangers.charge(device.account, welcome, sealed.length)
    }
    ledger.mustHaveRoom(conversation.number, this.#letter.contentBytes, 'message')
    this.#accept(conversation, ledger)
    return undefined
  }

  async #find(): Promise<void> {
    if ((await this.#parts.shelf.find(this.#request.conversation)) === undefined)
      throw notPermitted('no such conversation')
  }

  /** What others think of the sender, as long as the conversation stays as it is. */
  #welcomeIn(conversation: Conversation): Promise<void> | Welcomeness | undefined {
    const { state } = conversation
    if (this.#asked?.state === state) return this.#asked.welcome
    const welcome = this.#parts.strangers.to(conversation, this.#device.account, 'message')
    if (!(welcome instanceof Promise)) return welcome
    return welcome.then((answer) => {
      this.#asked = { state, welcome: answer }
    })
  }

  /** In the turn of the number, which lasts until the outcome is told. */
  async #lookForPrior(): Promise<void> {
    await this.#takeTurn()
    this.#prior = await answerBefore(this.#parts.archive, this.#named)
    this.#isKnownNew = true
  }

  #takeTurn(): Promise<void> {
    if (this.#endTurn !== undefined) return Promise.resolve()
    const { promise: over, resolve } = Promise.withResolvers<void>()
    this.#endTurn = resolve
    return new Promise((begin) => {
      void this.#parts.turns.take([turnOf(this.#named)], () => {
        begin()
        return over
      })
    })
  }

  #accept(conversation: Conversation, ledger: Ledger): void {
    const { clock, deliveries, shelf } = this.#parts
    const { boxes, number: conversationNumber, state } = conversation
    const { device, number, digest, id } = this.#named
    const letter = this.#letter
    const sequence = conversation.sequence + 1
    letter.accept(sequence, clock.nowMs())
    const sent = { device, number, conversation: conversationNumber, sequence, digest }
    const message: BoxMessage = { box: boxes.application, id, content: letter.content, sent }
    ledger.underWayBytes += letter.contentBytes
    const told = new Acceptance(deliveries, { letter, conversation, state, sequence, ledger }, this)
    shelf.append(conversation, { messages: [message] }, told)
  }
}

interface AcceptedLetter {
  readonly letter: Letter
  readonly conversation: Conversation
  readonly state: ConversationState
  readonly sequence: number
  readonly ledger: Ledger
}

/** A message that was accepted and is not durable yet. */
class Acceptance implements Told {
  readonly #deliveries: ServerDeliveries
  readonly #accepted: AcceptedLetter
  readonly #outcome: Outcome<Accepted>

  constructor(deliveries: ServerDeliveries, accepted: AcceptedLetter, outcome: Outcome<Accepted>) {
    this.#deliveries = deliveries
    this.#accepted = accepted
    this.#outcome = outcome
  }

  durable({ positions, at }: Stepped): void {
    const { letter, conversation, state, sequence, ledger } = this.#accepted
    const position = positions[0] as number // there is one message
    ledger.underWayBytes -= letter.contentBytes
    this.#deliveries.arrived(letter, position, conversation.applications, state.audience)
    this.#outcome.done({ sequence, position, at })
  }

  refused(error: Error): void {
    const { letter, ledger } = this.#accepted
    ledger.underWayBytes -= letter.contentBytes
    this.#outcome.failed(error)
  }
}

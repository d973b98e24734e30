import type { Step, Stepped, Told } from '../archive.ts'
import { SentRun } from '../storage/sentrun.ts'
import type { Conversation, ConversationState } from './conversation.ts'
import type { Ledger } from './ledgers.ts'
import { LetterRun } from './letterrun.ts'
import { contentBytesOf, digestOf, Letter } from './letters.ts'
import type { Parts } from './parts.ts'
import type { SendInPlace } from './sendinplace.ts'
import type { Device } from './services.ts'

/** Where a send that is accepted belongs. */
export interface Cleared {
  readonly conversation: Conversation
  readonly ledger: Ledger
}

/** Told what became of a run. */
export interface RunTold {
  /** The messages have `sequence` and those behind it. */
  accepted(sequence: number, stepped: Stepped): void
  refused(error: unknown): void
}

/** What is common to messages that are accepted in one go: their step, of which all become durable or none. §6.6 */
abstract class Accepted implements Told {
  protected readonly parts: Parts
  protected readonly conversation: Conversation
  protected readonly state: ConversationState
  protected readonly sequence: number
  protected readonly at: number
  readonly #ledger: Ledger
  readonly #told: RunTold
  #bytes = 0

  constructor(parts: Parts, { conversation, ledger }: Cleared, told: RunTold) {
    this.parts = parts
    this.conversation = conversation
    this.state = conversation.state
    this.sequence = conversation.sequence + 1
    this.at = parts.clock.nowMs()
    this.#ledger = ledger
    this.#told = told
  }

  /** Of all that is stored. */
  get bytes(): number {
    return this.#bytes
  }

  durable(stepped: Stepped): void {
    this.#ledger.underWayBytes -= this.#bytes
    this.deliver(stepped.positions)
    this.#told.accepted(this.sequence, stepped)
  }

  refused(error: Error): void {
    this.#ledger.underWayBytes -= this.#bytes
    this.#told.refused(error)
  }

  protected abstract deliver(positions: readonly number[]): void

  protected count(contentBytes: number): void {
    this.#bytes += contentBytes
    this.#ledger.underWayBytes += contentBytes
  }

  protected append(step: Step): void {
    this.parts.shelf.append(this.conversation, { ...step, at: this.at }, this)
  }
}

/** Messages of one device into one conversation, of those that are small enough to go with others. */
export class AcceptedRun extends Accepted {
  readonly #run: SentRun
  readonly #letters: LetterRun

  /** `first` is still to be added. */
  constructor(parts: Parts, device: Device, cleared: Cleared, first: SendInPlace, told: RunTold) {
    super(parts, cleared, told)
    const { boxes, number, id } = this.conversation
    const place = { box: boxes.application, device: device.number, conversation: number, sequence: this.sequence }
    this.#run = new SentRun(place, contentBytesOf(first.sealedBytes))
    this.#letters = new LetterRun(this.#run, id)
  }

  static takes({ sealedBytes }: SendInPlace): boolean {
    return SentRun.takes(contentBytesOf(sealedBytes))
  }

  /** Whether a message has room behind the others. */
  hasRoom(send: SendInPlace): boolean {
    return (
      AcceptedRun.takes(send) && send.isTo(this.conversation.id) && this.#run.hasRoom(contentBytesOf(send.sealedBytes))
    )
  }

  add(send: SendInPlace): void {
    this.#letters.add(send, this.at)
    this.count(contentBytesOf(send.sealedBytes))
  }

  /** Nothing may have been waited for since the first was decided. */
  call(): void {
    this.append({ run: this.#run })
  }

  protected override deliver(positions: readonly number[]): void {
    const { applications } = this.conversation
    this.parts.deliveries.arrivedTogether(this.#letters, positions, applications, this.state.audience)
  }
}

/** A message that is accepted alone, large or small. Nothing may have been waited for since it was decided. */
export function callAlone(parts: Parts, device: Device, cleared: Cleared, send: SendInPlace, told: RunTold): void {
  if (!AcceptedRun.takes(send)) new AcceptedLarge(parts, device, cleared, send, told).call()
  else {
    const run = new AcceptedRun(parts, device, cleared, send, told)
    run.add(send)
    run.call()
  }
}

class AcceptedLarge extends Accepted {
  readonly #letter: Letter
  readonly #step: Step

  constructor(parts: Parts, device: Device, cleared: Cleared, send: SendInPlace, told: RunTold) {
    super(parts, cleared, told)
    const { boxes, number: conversation, id } = this.conversation
    const { sequence } = this
    this.#letter = Letter.ofSend(send, id, device.number)
    this.#letter.accept(sequence, this.at)
    const { content } = this.#letter
    const sent = {
      device: device.number,
      number: send.number,
      conversation,
      sequence,
      digest: digestOf(send, device.number),
    }
    this.#step = { messages: [{ box: boxes.application, id: send.id, content, sent }] }
    this.count(content.length)
  }

  call(): void {
    this.append(this.#step)
  }

  protected override deliver(positions: readonly number[]): void {
    const { applications } = this.conversation
    const [position] = positions as [number] // there is one message
    this.parts.deliveries.arrived(this.#letter, position, applications, this.state.audience)
  }
}

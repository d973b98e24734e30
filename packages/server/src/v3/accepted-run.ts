import { crc32 } from 'node:zlib'
import type { BoxMessage, Stepped, Told } from '../archive.ts'
import type { Conversation, ConversationState } from './conversation.ts'
import type { Ledger } from './ledgers.ts'
import { Letter } from './letters.ts'
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
  refused(error: Error): void
}

/**
 * Messages of one device into one conversation that were accepted in one go: one step, of which all become durable or
 * none. Protocol 3 §6.6.
 */
export class AcceptedRun implements Told {
  readonly #parts: Parts
  readonly #device: Device
  readonly #conversation: Conversation
  readonly #ledger: Ledger
  readonly #state: ConversationState
  readonly #told: RunTold
  readonly #letters: Letter[] = []
  readonly #messages: BoxMessage[] = []
  readonly #sequence: number
  readonly #at: number
  readonly #conversationDigest: number
  #bytes = 0

  constructor(parts: Parts, device: Device, { conversation, ledger }: Cleared, told: RunTold) {
    this.#parts = parts
    this.#device = device
    this.#conversation = conversation
    this.#ledger = ledger
    this.#state = conversation.state
    this.#told = told
    this.#sequence = conversation.sequence + 1
    this.#at = parts.clock.nowMs()
    this.#conversationDigest = crc32(conversation.id)
  }

  get conversation(): Conversation {
    return this.#conversation
  }

  /** Of all that is stored. */
  get bytes(): number {
    return this.#bytes
  }

  add(send: SendInPlace): void {
    const { number, id, epoch } = send
    const { boxes, id: conversation, number: conversationNumber } = this.#conversation
    const device = this.#device.number
    const letter = Letter.ofSend(send, conversation, device)
    const { content } = letter
    const digest = letter.digest(epoch, content, this.#conversationDigest)
    const sequence = this.#sequence + this.#letters.length
    letter.accept(sequence, this.#at)
    this.#letters.push(letter)
    const sent = { device, number, conversation: conversationNumber, sequence, digest }
    this.#messages.push({ box: boxes.application, id, content, sent })
    this.#bytes += content.length
    this.#ledger.underWayBytes += content.length
  }

  /** Nothing may have been waited for since the first was added. */
  call(): void {
    this.#parts.shelf.append(this.#conversation, { messages: this.#messages, at: this.#at }, this)
  }

  durable(stepped: Stepped): void {
    this.#ledger.underWayBytes -= this.#bytes
    const { applications } = this.#conversation
    this.#parts.deliveries.arrivedTogether(this.#letters, stepped.positions, applications, this.#state.audience)
    this.#told.accepted(this.#sequence, stepped)
  }

  refused(error: Error): void {
    this.#ledger.underWayBytes -= this.#bytes
    this.#told.refused(error)
  }
}

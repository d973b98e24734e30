import type { ConversationId } from '@messageu/protocol/v3'
import { keyOf } from './conversation.ts'
import type { Mailbox } from './mailbox.ts'
import type { Session } from './services.ts'

/** A conversation of which something was delivered and not acknowledged. */
interface Delivered {
  readonly conversation: ConversationId
  newest: number
}

/** The way of messages to one session. */
export class Outbound {
  readonly session: Session
  /** Undefined until it is known what the device has acknowledged. */
  #mailbox: Mailbox | undefined
  /** Whether all boxes of the device are in the mailbox. */
  isWhole = false
  /** Nothing waits: what is accepted is pushed at once. */
  isLive = false
  /** More was queued than the network takes, and it says when there is room. */
  isBlocked = false
  /** Something was taken from the mailbox and is being read. */
  isReading = false
  credit = { messages: 0, bytes: 0 }
  /** The newest position that was pushed or acknowledged. */
  delivered = 0
  /** Up to where the device says that it has stored everything, and up to where that is durable. */
  stored = 0
  acknowledged = 0
  acknowledging: Promise<void> | undefined
  #hasToldSo = false
  readonly #unacknowledged = new Map<string, Delivered>()
  /** The one among them that was pushed last: mostly it is the next one as well. */
  #last: Delivered | undefined

  constructor(session: Session) {
    this.session = session
  }

  get mailbox(): Mailbox | undefined {
    return this.#mailbox
  }

  /** Everything up to here was stored by the device, or was not for it. */
  get passed(): number {
    const isAwaited = this.delivered > this.acknowledged || this.isReading
    return isAwaited ? this.acknowledged : Math.max(this.acknowledged, this.#mailbox?.place ?? 0)
  }

  begin(mailbox: Mailbox): void {
    this.#mailbox = mailbox
    this.delivered = mailbox.place
    this.acknowledged = mailbox.place
  }

  /** Nothing waits any more; the device hears of it the first time. Protocol 3 §7.6 */
  caughtUp(): void {
    if (this.#hasToldSo || this.credit.messages < 1) return
    this.#hasToldSo = true
    this.session.notice({ kind: 'caught-up', body: undefined })
  }

  /** Messages were pushed, the last of them from `position`. */
  pushed(
    conversation: ConversationId | undefined,
    position: number,
    { count, sealedBytes }: { readonly count: number; readonly sealedBytes: number },
  ): void {
    this.credit.messages -= count
    this.credit.bytes -= sealedBytes
    this.delivered = position
    if (conversation === undefined) return
    if (this.#last?.conversation !== conversation) this.#last = this.#deliveredOf(conversation)
    this.#last.newest = position
  }

  /** An acknowledgement is durable. Returns the conversations of which something was delivered and not acknowledged. */
  took(through: number): ConversationId[] {
    this.acknowledged = Math.max(this.acknowledged, through)
    const touched = Array.from(this.#unacknowledged.values(), ({ conversation }) => conversation)
    this.#last = undefined
    for (const [key, { newest }] of this.#unacknowledged) if (newest <= through) this.#unacknowledged.delete(key)
    return touched
  }

  #deliveredOf(conversation: ConversationId): Delivered {
    const key = keyOf(conversation)
    const known = this.#unacknowledged.get(key)
    if (known !== undefined) return known
    const delivered = { conversation, newest: 0 }
    this.#unacknowledged.set(key, delivered)
    return delivered
  }
}

import { type ConversationId, toBase64url } from '@messageu/protocol/v3'
import type { Clock } from '../clock.ts'

interface Appointment {
  readonly conversation: ConversationId
  readonly dueMs: number
}

/** Conversations to look at, and when, by the clock that never jumps. */
export class Agenda {
  readonly #clock: Clock
  /** By their ids as text. */
  readonly #appointments = new Map<string, Appointment>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** It is looked at as soon as may be. */
  touch(conversation: ConversationId): void {
    this.#appointments.set(toBase64url(conversation), { conversation, dueMs: 0 })
  }

  /** It is looked at in so many milliseconds, unless somebody has asked for it meanwhile. */
  plan(conversation: ConversationId, afterMs: number): void {
    const name = toBase64url(conversation)
    if (this.#appointments.has(name)) return
    this.#appointments.set(name, { conversation, dueMs: this.#clock.monotonicMs() + afterMs })
  }

  takeDue(): ConversationId | undefined {
    const now = this.#clock.monotonicMs()
    for (const [name, { conversation, dueMs }] of this.#appointments) {
      if (dueMs > now) continue
      this.#appointments.delete(name)
      return conversation
    }
    return undefined
  }

  hasDue(): boolean {
    return this.nextMs() <= this.#clock.monotonicMs()
  }

  /** When the next is due; infinite if there is none. */
  nextMs(): number {
    return Math.min(...Array.from(this.#appointments.values(), ({ dueMs }) => dueMs))
  }
}

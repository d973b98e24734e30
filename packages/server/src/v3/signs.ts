import { limits } from '@messageu/protocol/v3'

/** What is seen of the other side at one moment. */
export interface Seen {
  readonly nowMs: number
  /** Bytes that have come over the connection so far. */
  readonly bytesRead: number
  /** Whether we take what comes: while we are the slow side, nobody is silent. */
  readonly isReading: boolean
}

/** What is to be done: end it, or look again at a time, having asked for a sign before if `ask`. */
export type Look = { readonly isOver: true } | { readonly isOver: false; readonly ask: boolean; readonly dueMs: number }

/**
 * Signs of life of one connection: whole messages, answers to what it is asked after half of the time, and bytes of a
 * message that is on its way, which may not take for ever. Times are those of the monotonic clock. Protocol 3 §3.6.
 */
export class Signs {
  readonly #messageMs: number
  /** When the last whole message or sign of life came, and when the last byte. */
  #messageAt: number
  #heardAt: number
  #heardBytes = 0
  /** When the bytes were counted last. */
  #lookedAt: number
  /** Whether the peer was asked for a sign since. */
  #isAsked = false

  /** @param messageMs how long one message may take */
  constructor(nowMs: number, messageMs: number) {
    this.#messageMs = messageMs
    this.#messageAt = this.#heardAt = this.#lookedAt = nowMs
  }

  /** A whole message or a sign of life came. */
  heard(nowMs: number): void {
    this.#messageAt = this.#heardAt = nowMs
    this.#isAsked = false
  }

  look({ nowMs, bytesRead, isReading }: Seen): Look {
    if (bytesRead > this.#heardBytes && this.#messageAt < this.#lookedAt) this.#heardAt = nowMs
    this.#heardBytes = bytesRead
    this.#lookedAt = nowMs
    const isSilent = isReading && nowMs - this.#heardAt >= 2 * limits.heartbeatMs
    const isEndless = isReading && this.#heardAt - this.#messageAt >= this.#messageMs
    if (isSilent || isEndless) return { isOver: true }
    const ask = !this.#isAsked && nowMs - this.#heardAt >= limits.heartbeatMs
    if (ask) this.#isAsked = true
    const due = this.#heardAt + (this.#isAsked ? 2 : 1) * limits.heartbeatMs
    return { isOver: false, ask, dueMs: due > nowMs ? due : nowMs + limits.heartbeatMs }
  }
}

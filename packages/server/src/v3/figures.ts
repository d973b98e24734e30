import type { V3Reason } from '@messageu/protocol/v3'
import type { Ending } from './session.ts'

/** One send in so many is timed. */
const sampleEvery = 64

/** What the listener has counted since the start, for the operator: never who, always how many. */
export class Figures {
  acceptedMessages = 0
  deliveredMessages = 0
  receivedBytes = 0
  sentBytes = 0
  /** Connections that were told that there are too many. */
  turnedAway = 0
  readonly refusals = new Map<V3Reason, number>()
  readonly endings = new Map<Ending, number>()
  /** Told the seconds from the arrival of some sends to their durable answer: a sample, not each. */
  onAccepted: ((seconds: number) => void) | undefined
  #sends = 0

  /** Begins to time a send, if it is one of the sample; to be called when it is accepted. */
  timing(): (() => void) | undefined {
    const { onAccepted } = this
    if (onAccepted === undefined || this.#sends++ % sampleEvery !== 0) return undefined
    const startedAt = performance.now()
    return () => onAccepted((performance.now() - startedAt) / 1000)
  }

  refused(reason: V3Reason): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1)
  }

  ended(why: Ending): void {
    this.endings.set(why, (this.endings.get(why) ?? 0) + 1)
  }
}

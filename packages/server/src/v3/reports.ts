import { RefusedError } from '@messageu/protocol/v3'
import { Recent } from './recent.ts'

/** Between two of the same report. */
const pauseMs = 10_000
const reportsMax = 10_000

/** Who reported what lately: the same again has to wait. */
export class Reports {
  readonly #at = new Recent<number>(reportsMax)

  /** Throws `limited` when the last one was a moment ago. */
  mustBeDue(report: string, monotonicMs: number): void {
    const waitMs = (this.#at.get(report) ?? Number.NEGATIVE_INFINITY) + pauseMs - monotonicMs
    if (waitMs > 0) throw new RefusedError('limited', 'this was said a moment ago', { retryAfterMs: waitMs })
    this.#at.set(report, monotonicMs)
  }
}

import type { Logger } from './log.ts'
import type { V2Log } from './v2/listener.ts'
import type { V3Log } from './v3/listener.ts'

// What the listeners tell, as lines of the log. Apart from the log, which embedders open: its types show to them.

/** What version 3 tells: reasons and counts, and nothing that a peer wrote. */
export function v3Log(log: Logger): V3Log {
  return {
    failed({ operation, error }) {
      const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
      log.error({ event: 'v3-failed', operation, why }, 'request failed')
    },
    ended({ why }) {
      log.debug({ event: 'v3-ended', why }, 'session ended')
    },
    turnedAway({ why }) {
      log.info({ event: 'v3-turned-away', why }, 'connection turned away')
    },
  }
}

/** What version 2 tells: reasons, sizes and counts, and nothing that a client wrote. */
export function v2Log(log: Logger): V2Log {
  return {
    refused({ operation, reason, why }) {
      const grave = reason === 'internal' || reason === 'damaged'
      log[grave ? 'error' : 'info']({ event: 'v2-refused', operation, reason, why }, 'request refused')
    },
    fetched(outcome) {
      log.debug(
        { event: 'v2-fetched', ...outcome },
        outcome.delivered ? 'messages delivered' : 'delivery not completed, messages kept',
      )
    },
  }
}

import { type Logger, pino } from 'pino'
import type { Config } from './config.ts'
import type { V2Log } from './v2/listener.ts'
import type { V3Log } from './v3/listener.ts'

export type { Logger }

/** What may wait for a reader of the log that has stopped reading; lines beyond it are lost, the server goes on. */
const waitingBytesMax = 4 * 2 ** 20

/**
 * JSON lines on standard error. Where nobody can read them any more (a terminal that is gone) they are lost, and the
 * server goes on: left to itself the writer would throw, and then try for ever to write what is left.
 */
export function openLog(level: Config['log-level']): Logger {
  const lines = pino.destination({ dest: 2, sync: false, maxLength: waitingBytesMax })
  let isGone = false
  lines.on('error', () => {
    isGone = true
    lines.destroy()
  })
  const sink = {
    write(line: string) {
      if (!isGone) lines.write(line)
    },
  }
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  )
}

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

import { type Logger, pino } from 'pino'
import type { Config } from './config.ts'
import type { V2Log } from './v2/listener.ts'

export type { Logger }

/** What may wait for a reader of the log that has stopped reading; lines beyond it are lost, the server goes on. */
const waitingBytesMax = 4 * 2 ** 20

/** JSON lines on standard error. */
export function openLog(level: Config['log-level']): Logger {
  const lines = pino.destination({ dest: 2, sync: false, maxLength: waitingBytesMax })
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    lines,
  )
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

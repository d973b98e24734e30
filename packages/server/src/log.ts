import { type Logger, pino } from 'pino'
import type { Config } from './config.ts'

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

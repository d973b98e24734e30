import type { Output } from './output.ts'
import { jsonLine } from './terminal.ts'

/** How far a transfer has come, in bytes. */
export type OnProgress = (done: number, total: number) => void

const barWidth = 24
const redrawMs = 100

/**
 * Shows a transfer: on a terminal a bar with rate and time left, elsewhere one line per 10 %, with `--json` the same as
 * events.
 */
export function showProgress(
  output: Output,
  label: string,
  now: () => number = () => performance.now(),
): { readonly onProgress: OnProgress } & Disposable {
  const startedAt = now()
  let tenth = 0
  let drawnAt = Number.NEGATIVE_INFINITY
  let midLine = false
  const onProgress: OnProgress = (done, total) => {
    const part = total === 0 ? 1 : done / total
    const elapsed = (now() - startedAt) / 1000
    if (output.err.isTTY && !output.json) {
      if (done < total && now() - drawnAt < redrawMs) return
      drawnAt = now()
      midLine = done < total
      output.err.write(`\r\u001b[K${label} ${bar(part)} ${summary(done, total, elapsed)}${done < total ? '' : '\n'}`)
      return
    }
    const reached = Math.floor(part * 10)
    if (reached <= tenth) return
    tenth = reached
    if (output.json) output.out.write(jsonLine({ event: 'progress', what: label, done, total }))
    else output.err.write(`${label} ${summary(done, total, elapsed)}\n`)
  }
  return {
    onProgress,
    [Symbol.dispose]() {
      if (midLine) output.err.write('\n') // what comes next does not belong to the bar
    },
  }
}

function bar(part: number): string {
  const full = Math.floor(part * barWidth)
  return `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}]`
}

function summary(done: number, total: number, elapsed: number): string {
  const percent = `${total === 0 ? 100 : Math.floor((done / total) * 100)} %`.padStart(5)
  if (elapsed <= 0 || done === 0) return percent
  const rate = done / elapsed
  const left = done < total ? `, ${duration((total - done) / rate)} left` : `, ${duration(elapsed)}`
  return `${percent} of ${size(total)}, ${size(rate)}/s${left}`
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${Math.round(bytes)} B`
  const units = ['kB', 'MB', 'GB', 'TB']
  let value = bytes / 1000
  let unit = 0
  for (; value >= 999.95 && unit < units.length - 1; unit++) value /= 1000
  return `${value.toFixed(1)} ${units[unit]}`
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  const clock = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, '0')).join(':')
  return whole < 3600 ? clock : `${Math.floor(whole / 3600)}:${clock}`
}

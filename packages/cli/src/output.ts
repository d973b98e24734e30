import type { Writable } from 'node:stream'
import type { Failure } from './failure.ts'
import { jsonLine, printable } from './terminal.ts'

/** Where a command's results go, and in which of the two forms. */
export interface Output {
  readonly json: boolean
  readonly out: Writable
  readonly err: Writable & { readonly isTTY?: boolean }
}

/** One result: an event for programs, or lines for people. Resolves when it was handed over: then it counts as shown. */
export function tell(output: Output, event: Readonly<Record<string, unknown>>, lines: string): Promise<void> {
  return write(output.out, output.json ? jsonLine(event) : `${lines}\n`)
}

/** Something to know beside the results. */
export function notice(output: Output, code: string, message: string): Promise<void> {
  if (output.json) return write(output.out, jsonLine({ event: 'notice', code, message }))
  return write(output.err, `note: ${printable(message)}\n`)
}

/** The one place where a failure becomes text. */
export function complain(output: Output, failure: Failure): Promise<void> {
  const { code, message, what, why, advice } = failure
  if (output.json) return write(output.out, jsonLine({ event: 'error', code, message, try: advice }))
  const reason = why === undefined ? '' : `  why: ${printable(why)}\n`
  return write(output.err, `error: ${printable(what)}\n${reason}  try: ${printable(advice)}\n`)
}

export function write(stream: Writable, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => (error ? reject(error) : resolve()))
  })
}

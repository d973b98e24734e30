import { addAbortListener } from 'node:events'
import { interrupted } from './failure.ts'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Turns Ctrl-C and the like into an `AbortSignal` while it is in scope. A second one ends the process at once. */
export function onInterrupt(): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController()
  const abort = (): void => {
    if (controller.signal.aborted) process.exit(interrupted().exitCode)
    controller.abort(interrupted())
  }
  for (const signal of signals) process.on(signal, abort)
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, abort)
    },
  }
}

/** The promise, or the reason of the signal if that comes first. The wait ends, not the work. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  using _listener = addAbortListener(signal, () => aborted.reject(signal.reason))
  return await Promise.race([promise, aborted.promise])
}

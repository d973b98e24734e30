import type { Desk, Wait } from './desk.ts'

/** Waits until it holds: false if it does not in that many milliseconds. */
export async function within(
  { bell, clock }: Pick<Desk, 'bell' | 'clock'>,
  ms: number,
  holds: () => boolean | Promise<boolean>,
  { signal }: Wait,
): Promise<boolean> {
  const over = new AbortController()
  using _timer = clock.after(ms, () => over.abort())
  try {
    await bell.until(holds, AbortSignal.any([signal, over.signal]))
    return true
  } catch (error) {
    if (over.signal.aborted && !signal.aborted) return false
    throw error
  }
}

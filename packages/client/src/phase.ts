import { RefusedError } from '@messageu/protocol/v3'
import { ClientError, type ClientReason } from './errors.ts'
import { limits } from './limits.ts'

/** Where a connection stands. `failures` counts attempts since the last session that lasted. */
export type Phase =
  | { readonly phase: 'connecting'; readonly failures: number; readonly wasOpen: boolean }
  | { readonly phase: 'greeted'; readonly failures: number; readonly wasOpen: boolean }
  | { readonly phase: 'open'; readonly failures: number; readonly sinceMs: number }
  | {
      readonly phase: 'lost'
      readonly failures: number
      readonly wasOpen: boolean
      readonly why: Error
      readonly delayMs: number
    }
  | { readonly phase: 'ended'; readonly why: Error }

export type PhaseEvent =
  | { readonly kind: 'greeted' }
  | { readonly kind: 'opened'; readonly atMs: number }
  /** `chance` is evenly between 0 and 1. */
  | { readonly kind: 'lost'; readonly why: Error; readonly atMs: number; readonly chance: number }
  | { readonly kind: 'due' }
  | { readonly kind: 'end'; readonly why: Error }

export const begin: Phase = { phase: 'connecting', failures: 0, wasOpen: false }

/** The phase after `event`. Protocol 3 §3. */
export function next(phase: Phase, event: PhaseEvent): Phase {
  if (phase.phase === 'ended') return phase
  switch (event.kind) {
    case 'greeted':
      return phase.phase === 'connecting' ? { ...phase, phase: 'greeted' } : phase
    case 'opened':
      return phase.phase === 'greeted' ? { phase: 'open', failures: phase.failures, sinceMs: event.atMs } : phase
    case 'lost':
      return phase.phase === 'lost' ? phase : afterLoss(phase, event)
    case 'due':
      return phase.phase === 'lost' ? { phase: 'connecting', failures: phase.failures, wasOpen: phase.wasOpen } : phase
    case 'end':
      return { phase: 'ended', why: event.why }
  }
}

function afterLoss(
  phase: Exclude<Phase, { phase: 'lost' | 'ended' }>,
  { why, atMs, chance }: Extract<PhaseEvent, { kind: 'lost' }>,
): Phase {
  const wasOpen = phase.phase === 'open' || phase.wasOpen
  if (isFinal(why, wasOpen)) return { phase: 'ended', why }
  const wasSteady = phase.phase === 'open' && atMs - phase.sinceMs >= limits.steadyMs
  const failures = wasSteady ? 0 : phase.failures
  return { phase: 'lost', failures: failures + 1, wasOpen, why, delayMs: backoffMs(failures, why, chance) }
}

/**
 * How long to wait before the next attempt: anything between nothing and twice as much as last time, so that those who
 * were lost together do not come back together; but not before the server said that it may be tried.
 */
export function backoffMs(failures: number, why: Error, chance: number): number {
  const span = Math.min(limits.backoffMaxMs, limits.backoffMinMs * 2 ** Math.min(failures, 30))
  const asked = why instanceof ClientError || why instanceof RefusedError ? why.retryAfterMs : 0
  return Math.min(asked, limits.retryAfterMaxMs) + Math.round(chance * span)
}

/** What another attempt may change. */
const passing: readonly ClientReason[] = ['unreachable', 'lost', 'bad-answer']

/**
 * Whether trying again is no use, or not ours to decide. A server that was the right one before may have a stranger in
 * front of it for a while, who learns nothing from another attempt: that must not end a listener for ever.
 */
function isFinal(why: Error, wasOpen: boolean): boolean {
  if (why instanceof RefusedError) return why.retry !== 'later'
  if (!(why instanceof ClientError)) return true
  return !(passing.includes(why.reason) || (wasOpen && why.reason === 'untrusted-server'))
}

import type { Hello } from '@messageu/protocol/v3'
import { v3Limits } from './limits.ts'

/** Why a session ends, as the close of its WebSocket says it, and with which code (RFC 6455 §7.4). Protocol 3 §3.7. */
// biome-ignore format: the columns are the point
export const endings = {
  text:       { code: 1003 }, // a text message: there are none
  malformed:  { code: 1002 }, // no frames, or a number that may not be used
  unproved:   { code: 1008 }, // the proof does not hold
  limited:    { code: 1008 }, // asked too much before the proof
  timeout:    { code: 1008 }, // no proof in time, a message that never ends, or silence
  busy:       { code: 1013 }, // takes too slowly what it has asked for
  superseded: { code: 1000 },
  delisted:   { code: 1008 },
  stopping:   { code: 1001 },
  internal:   { code: 1011 }, // a mistake of ours
} as const

export type Ending = keyof typeof endings

/** Where a session is between its opening and its end. */
export type SessionState =
  /** It has heard our hello, which is good for one proof. */
  | { readonly phase: 'greeted'; readonly hello: Hello; readonly asks: number }
  /** A proof is being judged. */
  | { readonly phase: 'proving' }
  | { readonly phase: 'open' }
  /** What is under way is answered, nothing more is taken. */
  | { readonly phase: 'leaving'; readonly why: Ending }
  | { readonly phase: 'closing'; readonly why: Ending }

export type SessionEvent =
  /** Something that needs no proof was asked. */
  | { readonly kind: 'ask' }
  | { readonly kind: 'proof' }
  | { readonly kind: 'proved' }
  /** The time for the proof is over. */
  | { readonly kind: 'late' }
  /** The server stops. */
  | { readonly kind: 'stop' }
  /** Nothing is under way any more. */
  | { readonly kind: 'idle' }
  | { readonly kind: 'end'; readonly why: Ending }

/** The state after `event`. Protocol 3 §3. */
export function next(state: SessionState, event: SessionEvent): SessionState {
  if (event.kind === 'end') return state.phase === 'closing' ? state : closing(event.why)
  switch (state.phase) {
    case 'greeted':
      return afterGreeting(state, event)
    case 'proving':
      if (event.kind === 'proved') return { phase: 'open' }
      return event.kind === 'stop' ? closing('stopping') : state // our own slowness is not the peer's
    case 'open':
      return event.kind === 'stop' ? { phase: 'leaving', why: 'stopping' } : state
    case 'leaving':
      return event.kind === 'idle' ? closing(state.why) : state
    case 'closing':
      return state
  }
}

function afterGreeting(
  state: Extract<SessionState, { phase: 'greeted' }>,
  event: Exclude<SessionEvent, { kind: 'end' }>,
): SessionState {
  switch (event.kind) {
    case 'ask':
      return state.asks < v3Limits.asksBeforeProofMax ? { ...state, asks: state.asks + 1 } : closing('limited')
    case 'proof':
      return { phase: 'proving' }
    case 'late':
      return closing('timeout')
    case 'stop':
      return closing('stopping')
    case 'proved':
    case 'idle':
      return state
  }
}

function closing(why: Ending): SessionState {
  return { phase: 'closing', why }
}

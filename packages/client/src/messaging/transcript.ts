import { runningHash } from '@messageu/e2ee/conversation'
import { decode } from '@messageu/protocol'
import { Hash } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { messagingLimits as limits } from './limits.ts'
import type { Mark, Transcript } from './rows.ts'

// Who has seen the same messages in the same order has the same hash of them: how a server that withholds or reorders is
// found out. CONVERSATIONS C 8

export const emptyTranscript: Transcript = {
  seen: { sequence: 0, hash: decode(Hash, new Uint8Array(Hash.max)) },
  ahead: [],
  recent: [],
}

/** The epoch that begins at this place, with what stands behind it already. What was seen of earlier ones can still be compared. */
export function beginEpoch({ ahead, recent }: Transcript, start: Mark): Transcript {
  return drained({
    seen: start,
    ahead: ahead.filter(({ sequence }) => sequence > start.sequence),
    recent: [...recent, start].slice(-limits.recentMarks),
  })
}

/** A message stands at this place, one's own or another's: the hash is that of its sealed bytes. */
export function take(transcript: Transcript, { sequence, hash }: Mark): Transcript {
  const { seen, ahead } = transcript
  const isKnown = sequence <= seen.sequence || ahead.some((mark) => mark.sequence === sequence)
  if (isKnown || ahead.length >= limits.aheadMax) return transcript
  return drained({
    ...transcript,
    ahead: [...ahead, { sequence, hash }].sort((one, other) => one.sequence - other.sequence),
  })
}

/** Whether somebody else has seen the same up to a place; unknown where this device has none to compare. */
export function compare({ recent }: Transcript, mark: Mark): 'same' | 'differs' | 'unknown' {
  const own = recent.find(({ sequence }) => sequence === mark.sequence)
  if (own === undefined) return 'unknown'
  return sameBytes(own.hash, mark.hash) ? 'same' : 'differs'
}

function drained(transcript: Transcript): Transcript {
  let { seen } = transcript
  const recent = [...transcript.recent]
  const ahead = [...transcript.ahead]
  for (let next = ahead[0]; next?.sequence === seen.sequence + 1; next = ahead[0]) {
    ahead.shift()
    seen = { sequence: next.sequence, hash: runningHash(seen.hash, { sequence: next.sequence, sealed: next.hash }) }
    recent.push(seen)
  }
  return { seen, ahead, recent: recent.slice(-limits.recentMarks) }
}

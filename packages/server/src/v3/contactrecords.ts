import { encode, type Infer, named, struct, u8, u32, u64 } from '@messageu/protocol'
import { ConversationId } from '@messageu/protocol/v3'
import type { ObjectChange } from '../archive.ts'
import { stored } from './accountrecords.ts'
import { numberKey } from './numbers.ts'
import type { Account } from './services.ts'

/** What an account thinks of another one, and what that one has sent as a stranger. */
const Opinion = struct({
  verdict: named(u8, { none: 1, accepted: 2, refused: 3, blocked: 4 }),
  /** The place of its request among those that wait; 0 if there is none. */
  request: u64,
  messages: u32,
  bytes: u64,
})
export type Opinion = Infer<typeof Opinion>

/** How many opinions an account has, and how many requests it ever got. */
const Tally = struct({ accepted: u32, others: u32, requests: u64 })
export type Tally = Infer<typeof Tally>

/** Who waits for an answer. */
const WaitingRequest = struct({ account: u64, conversation: ConversationId, at: u64 })
export type WaitingRequest = Infer<typeof WaitingRequest>

/** Of somebody of whom nothing is known. It is not kept. */
export const noOpinion: Opinion = { verdict: 'none', request: 0, messages: 0, bytes: 0 }
export const noTally: Tally = { accepted: 0, others: 0, requests: 0 }

// accounts are numbered from 1: what an account keeps about nobody in particular lies under 0

export function opinionKey(of: Account, about: Account): Uint8Array {
  return numberKey(of.number, about.number)
}

export function tallyKey(of: Account): Uint8Array {
  return numberKey(of.number, 0)
}

/** In the order in which they came. */
function requestKey(of: Account, request: number): Uint8Array {
  return numberKey(of.number, 0, request)
}

export function putOpinion(of: Account, about: Account, opinion: Opinion): ObjectChange {
  const value = opinion === noOpinion ? undefined : encode(Opinion, opinion)
  return { kind: 'contact', key: opinionKey(of, about), value }
}

export function putTally(of: Account, tally: Tally): ObjectChange {
  return { kind: 'contact', key: tallyKey(of), value: encode(Tally, tally) }
}

export function putRequest(of: Account, place: number, request: WaitingRequest | undefined): ObjectChange {
  const value = request && encode(WaitingRequest, request)
  return { kind: 'contact', key: requestKey(of, place), value }
}

export const readOpinion = (bytes: Uint8Array): Opinion => stored(Opinion, bytes)
export const readTally = (bytes: Uint8Array): Tally => stored(Tally, bytes)
export const readRequest = (bytes: Uint8Array): WaitingRequest => stored(WaitingRequest, bytes)

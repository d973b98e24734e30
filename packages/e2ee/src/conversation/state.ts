import { bytes, decode, type Infer, list, optional, struct, u16 } from '@messageu/protocol'
import { Hash } from '@messageu/protocol/v3'
import { mustHold } from './errors.ts'
import { limits } from './limits.ts'
import { Members } from './members.ts'
import { Standings } from './shared.ts'
import { engine, type Suite } from './suites.ts'

/**
 * A conversation as one device keeps it: three parts, stored together, of which each is rewritten only when it is
 * another one than before. Nothing in it is ever wiped in place, and none may be used again once its successor is stored.
 */
export interface ConversationState {
  /** What wrote this, and with which suite. */
  readonly engine: string
  readonly suite: Suite
  /** The tree, the epochs' keys and members: changes with every commit. */
  readonly group: Uint8Array
  /** The message keys of the present epoch: changes with every message. */
  readonly ratchets: Uint8Array
  /** The message keys of up to three epochs before: changes when a late message is opened. */
  readonly earlier: Uint8Array
}

const secret = bytes({ max: limits.secretBytesMax })

/** What it takes to open and to seal the messages of one epoch, apart from the message keys. */
export const Epoch = struct({
  context: bytes({ max: limits.handshakeBytesMax }),
  members: Members,
  senderData: secret,
  authenticator: secret,
  /** Of the epoch before, unless the device came with this one. */
  previousAuthenticator: optional(secret),
})
export type Epoch = Infer<typeof Epoch>

/** Commits of which the hash is kept. */
export const appliedMax = 64

export const Group = struct({
  /** The engine's state without secret tree, without past epochs, without the signature key. */
  mls: bytes({ max: 2 * limits.handshakeBytesMax }),
  standings: Standings,
  own: u16,
  exporter: secret,
  /** The commits that led here, newest first: what is left to tell a repetition from a fork. */
  applied: list(Hash, { max: appliedMax }),
  /** Newest first; each as bytes, so that a message reads only its own. */
  epochs: list(bytes({ max: Epoch.max }), { max: 1 + limits.earlierEpochsMax }),
})
export type Group = Infer<typeof Group>
export const GroupBytes = bytes({ max: Group.max })

export function readGroup(state: ConversationState): Group {
  mustBeOurs(state)
  return decode(Group, state.group)
}

/** Throws `other-engine`. */
export function mustBeOurs({ engine: writtenBy }: ConversationState): void {
  mustHold(writtenBy === engine, 'other-engine', `the state was written by ${writtenBy}, this is ${engine}`)
}

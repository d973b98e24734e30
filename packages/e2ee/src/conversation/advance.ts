import { bool, bytes, decode, encode, type Infer, struct } from '@messageu/protocol'
import { Hash } from '@messageu/protocol/v3'
import { limits } from './limits.ts'
import { EarlierRatchets, Ratchets } from './ratchets.ts'
import { type ConversationState, GroupBytes } from './state.ts'
import { engine, Suite } from './suites.ts'

/**
 * What a commit makes of a conversation. It has only what changes with the commit, so that messages may come and go
 * until the commit has its place: commits are public messages and use no message key.
 */
export const Advance = struct({
  commit: Hash,
  suite: Suite,
  losesDevice: bool,
  group: GroupBytes,
  ratchets: bytes({ max: Ratchets.max }),
})
export type Advance = Infer<typeof Advance>

/**
 * The state once the commit has its place. When a device has gone, nothing that was sealed for earlier epochs may be
 * opened any more: it may have been the device's. §6.6
 */
export function advanced({ ratchets, earlier }: ConversationState, advance: Advance): ConversationState {
  const kept = advance.losesDevice ? [] : [decode(Ratchets, ratchets), ...decode(EarlierRatchets, earlier)]
  return begun(advance, kept.slice(0, limits.earlierEpochsMax))
}

/** A state of which nothing came before: a conversation that was just created or joined. */
export function begun(
  { suite, group, ratchets }: Omit<Advance, 'commit' | 'losesDevice'>,
  earlier: readonly Ratchets[] = [],
): ConversationState {
  return { engine, suite, group, ratchets, earlier: encode(EarlierRatchets, earlier) }
}

import type { AccountId, ConversationKind, DeviceId, Hash } from '@messageu/protocol/v3'
import { mlsExporter } from 'ts-mls'
import { sameBytes } from '../bytes.ts'
import { cryptoOf } from './algorithms.ts'
import { presentEpoch, situationOf } from './epochs.ts'
import { hasAccount, type Person, personOf, rosterOf } from './members.ts'
import { accountsOf, awaitedBy, hasAny, isOwner } from './rules.ts'
import { type GroupId, hashOf, type Standing } from './shared.ts'
import { type ConversationState, readGroup } from './state.ts'
import type { Suite } from './suites.ts'

/** A conversation as its members agree on it. */
export interface View extends GroupId {
  readonly suite: Suite
  readonly kind: ConversationKind
  readonly epoch: number
  readonly members: readonly Person[]
  readonly roster: readonly DeviceId[]
  /** Each account with the newest version of its list that was used here, and the epoch in which it came. */
  readonly lists: readonly Standing[]
  readonly owners: readonly AccountId[]
  /** Owners who have left: before one of them is brought back, the roles have to change. */
  readonly formerOwners: readonly AccountId[]
  /** Accounts that any member may bring in. */
  readonly invited: readonly AccountId[]
  /** The same for all who are in this epoch by the same history, and for nobody else. */
  readonly authenticator: Hash
}

export function view(state: ConversationState): View {
  const group = readGroup(state)
  const situation = situationOf(state, group)
  const { id, suite, epoch, rules, members, standings } = situation
  const here = standings.filter(({ account }) => hasAccount(members, account))
  const awaited = awaitedBy(situation)
  return {
    ...id,
    suite,
    kind: rules.kind,
    epoch,
    members: members.map(personOf),
    roster: rosterOf(members),
    lists: here,
    owners: here.map(({ account }) => account).filter((account) => isOwner(situation, account)),
    formerOwners: rules.owners.filter((owner) => !hasAny(awaited, owner) && !hasAccount(members, owner)),
    invited: awaited,
    authenticator: hashOf(presentEpoch(group).authenticator),
  }
}

/**
 * Whether `next` goes on where `before` could not: a later generation of the same, with the same people minus one at
 * most, and the same owners of those. Anything else is a conversation to ask about first. §6.8
 */
export function isContinuation(before: ConversationState, next: ConversationState): boolean {
  const [was, is] = [situationOf(before, readGroup(before)), situationOf(next, readGroup(next))]
  const [then, now] = [accountsOf(was), accountsOf(is)]
  return (
    sameBytes(was.id.conversation, is.id.conversation) &&
    is.id.generation > was.id.generation &&
    is.rules.kind === was.rules.kind &&
    now.every((account) => hasAny(then, account)) &&
    now.length >= then.length - 1 &&
    is.rules.owners.every((owner) => hasAny(was.rules.owners, owner)) &&
    was.rules.owners.every((owner) => hasAny(is.rules.owners, owner) || !hasAny(now, owner))
  )
}

/** A secret of this epoch that all members have and nobody else: for what is not a message, like typing. */
export async function exportSecret(
  state: ConversationState,
  label: string,
  { context, bytes }: { context: Uint8Array; bytes: number },
): Promise<Uint8Array> {
  return mlsExporter(readGroup(state).exporter, label, context, bytes, await cryptoOf(state.suite))
}

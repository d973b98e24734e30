import type { AccountId } from '@messageu/protocol/v3'
import { compareBytes, sameBytes } from '../bytes.ts'
import { mustHold } from './errors.ts'
import type { Situation } from './judge.ts'
import { standingOf } from './lists.ts'
import { hasAccount } from './members.ts'
import type { ConversationRules } from './shared.ts'

// Who may change what. Everybody checks before applying, and comes to the same answer. Protocol 3 §6.10

export function hasAny(accounts: readonly AccountId[], account: AccountId): boolean {
  return accounts.some((each) => sameBytes(each, account))
}

/** The accounts as rules name them: each once, in order. */
export function inOrder(accounts: readonly AccountId[]): readonly AccountId[] {
  return accounts
    .toSorted(compareBytes)
    .filter((account, i, all) => i === 0 || !sameBytes(account, all[i - 1] ?? account))
}

/** Accounts that any member may bring in: of a group, those that have not come yet since it was begun anew. */
export function awaitedBy({
  rules: { kind, invited },
  standings,
}: Pick<Situation, 'rules' | 'standings'>): readonly AccountId[] {
  return kind === 'group' ? invited.filter((account) => standingOf(standings, account) === undefined) : invited
}

/** Those who are here, and those who may come. */
export function accountsOf(situation: Pick<Situation, 'rules' | 'members' | 'standings'>): readonly AccountId[] {
  return inOrder([...situation.members.map(({ account }) => account), ...awaitedBy(situation)])
}

/**
 * Whether the account may do what only owners do. A group whose owners have all gone is not lost: then every member
 * counts as one; but not where an owner is still to come, in a conversation that is just being created anew.
 */
export function isOwner(
  { rules, members, standings }: Pick<Situation, 'rules' | 'members' | 'standings'>,
  account: AccountId,
): boolean {
  if (rules.kind !== 'group') return false
  const { owners } = rules
  const present = owners.filter((owner) => hasAccount(members, owner))
  if (present.length > 0) return hasAny(present, account)
  return hasAccount(members, account) && !owners.some((owner) => hasAny(awaitedBy({ rules, standings }), owner))
}

/** Throws `forbidden` unless `by` may bring a device of `account` in. That the device is on its list is judged apart. */
export function mustMayAdd(situation: Situation, { by, account }: { by: AccountId; account: AccountId }): void {
  if (hasAccount(situation.members, account) || hasAny(awaitedBy(situation), account)) return
  mustHold(
    !hasAny(situation.rules.owners, account),
    'forbidden',
    'an owner who has left is one no more: the rules change before the account comes back',
  )
  mustHold(isOwner(situation, by), 'forbidden', 'only owners bring an account in')
}

/** Throws `forbidden` unless `by` may take the device out. */
export function mustMayRemove(
  situation: Situation,
  { by, of, isListed, hasDeparted }: { by: AccountId; of: AccountId; isListed: boolean; hasDeparted: boolean },
): void {
  if (!isListed || hasDeparted || sameBytes(by, of)) return
  mustHold(isOwner(situation, by), 'forbidden', "only owners take another account's device out")
}

/** Throws `forbidden` unless `by` may replace the rules by `after`. */
export function mustMayRule(situation: Situation, { by, after }: { by: AccountId; after: ConversationRules }): void {
  const { rules: before, members } = situation
  mustHold(before.kind === 'group' && after.kind === 'group', 'forbidden', 'only a group has roles')
  mustHold(isOwner(situation, by), 'forbidden', 'only owners change roles')
  mustHold(after.owners.length > 0, 'forbidden', 'a group has an owner')
  mustHold(
    after.owners.every((owner) => hasAccount(members, owner)),
    'forbidden',
    'an owner is somebody who is here',
  )
  mustHold(
    after.invited.every((account) => hasAny(before.invited, account)),
    'forbidden',
    'nobody is invited by a change of roles',
  )
}

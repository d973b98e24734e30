import type { AccountId } from '@messageu/protocol/v3'
import { compareBytes, sameBytes } from '../bytes.ts'
import { mustHold } from './errors.ts'
import { hasAccount, type Member } from './members.ts'
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

/**
 * Whether the account may do what only owners do. A group whose owners have all gone is not lost: then every member
 * counts as one; but not where an owner is still to come, in a conversation that is just being created anew.
 */
export function isOwner(
  { kind, owners, invited }: ConversationRules,
  members: readonly Member[],
  account: AccountId,
): boolean {
  if (kind !== 'group') return false
  const present = owners.filter((owner) => hasAccount(members, owner))
  if (present.length > 0) return hasAny(present, account)
  return hasAccount(members, account) && !owners.some((owner) => hasAny(invited, owner))
}

/** Throws `forbidden` unless `by` may bring a device of `account` in. That the device is on its list is judged apart. */
export function mustMayAdd(
  rules: ConversationRules,
  members: readonly Member[],
  { by, account }: { by: AccountId; account: AccountId },
): void {
  if (hasAccount(members, account) || hasAny(rules.invited, account)) return
  mustHold(
    !hasAny(rules.owners, account),
    'forbidden',
    'an owner who has left is one no more: the rules change before the account comes back',
  )
  mustHold(isOwner(rules, members, by), 'forbidden', 'only owners bring an account in')
}

/** Throws `forbidden` unless `by` may take the device out. */
export function mustMayRemove(
  rules: ConversationRules,
  members: readonly Member[],
  { by, of, isListed, hasDeparted }: { by: AccountId; of: AccountId; isListed: boolean; hasDeparted: boolean },
): void {
  if (!isListed || hasDeparted || sameBytes(by, of)) return
  mustHold(isOwner(rules, members, by), 'forbidden', "only owners take another account's device out")
}

/** Throws `forbidden` unless `by` may replace the rules by `after`. */
export function mustMayRule(
  before: ConversationRules,
  members: readonly Member[],
  { by, after }: { by: AccountId; after: ConversationRules },
): void {
  mustHold(before.kind === 'group' && after.kind === 'group', 'forbidden', 'only a group has roles')
  mustHold(isOwner(before, members, by), 'forbidden', 'only owners change roles')
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

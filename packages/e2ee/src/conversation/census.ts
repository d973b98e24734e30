import type { AccountId } from '@messageu/protocol/v3'
import { compareBytes, sameBytes } from '../bytes.ts'
import { mustHold } from './errors.ts'
import { certificateOn, type KnownLists, listAt, missingFrom, mustContinue, standingOf } from './lists.ts'
import type { Leaf, Member } from './members.ts'
import { hasAny, inOrder } from './rules.ts'
import type { ConversationRules, ListRef, Standing, Standings } from './shared.ts'
import { devicesMax, type Suite } from './suites.ts'

// Who is in a conversation that one did not see grow: every leaf is judged by the lists that were used here. §6.10

/** The lists that it takes to judge the leaves, as far as the caller does not have them. */
export function listsForCensus(leaves: readonly Leaf[], standings: Standings, lists: KnownLists): readonly ListRef[] {
  const here = standings.filter(({ account }) =>
    leaves.some(({ identity }) => sameBytes(identity.list.account, account)),
  )
  const missing = missingFrom(lists, here)
  if (missing.length > 0) return missing
  const delisted = leaves.filter(({ identity }) => {
    const standing = standingOf(standings, identity.list.account)
    return standing !== undefined && !isListed(identity, standing, lists)
  })
  return missingFrom(
    lists,
    delisted.map(({ identity }) => identity.list),
  )
}

/** The members that the leaves are. Throws `list`, `keys`, `roster` or `limit`. All lists have to be known. */
export function census(
  leaves: readonly Leaf[],
  { standings, rules, suite }: { standings: Standings; rules: ConversationRules; suite: Suite },
  lists: KnownLists,
): readonly Member[] {
  mustHold(leaves.length <= devicesMax[suite], 'limit', `${leaves.length} devices`)
  const accounts = inOrder(leaves.map(({ identity }) => identity.list.account))
  const mayBeOut = (account: AccountId) => rules.kind === 'group' && hasAny(rules.invited, account)
  mustHold(
    accounts.every((account) => standingOf(standings, account) !== undefined) &&
      standings.every(({ account }) => hasAny(accounts, account) || mayBeOut(account)),
    'roster',
    'the accounts of the tree are not those that are said to be here',
  )
  mustHold(
    rules.kind === 'group' || accounts.every((account) => hasAny(rules.invited, account)),
    'forbidden',
    'somebody is here whom this conversation is not for',
  )
  mustBeDistinct(leaves)
  return leaves.map((leaf) => {
    const { account } = leaf.identity.list
    const standing = standingOf(standings, account)
    mustHold(standing !== undefined, 'roster', 'a leaf of an account that is not here')
    return memberAt(leaf, standing, lists)
  })
}

/** A device that has left its list since is still the one that it was, until somebody takes its leaf out. */
function memberAt({ leaf, identity, signatureKey }: Leaf, standing: Standing, lists: KnownLists): Member {
  const newest = listAt(lists, standing)
  mustContinue(newest, identity.list)
  const list = isListed(identity, standing, lists) ? newest : listAt(lists, identity.list)
  const { device, requestKey } = certificateOn(list, identity, signatureKey)
  return { leaf, account: standing.account, device, signatureKey, requestKey }
}

function isListed({ device }: Leaf['identity'], standing: Standing, lists: KnownLists): boolean {
  return listAt(lists, standing).devices.some((listed) => sameBytes(listed.device, device))
}

function mustBeDistinct(leaves: readonly Leaf[]): void {
  mustNotRepeat(
    leaves.map(({ identity }) => identity.device),
    'a device has two leaves',
  )
  mustNotRepeat(
    leaves.map(({ signatureKey }) => signatureKey),
    'two leaves have one key',
  )
}

function mustNotRepeat(values: readonly Uint8Array[], otherwise: string): void {
  const sorted = values.toSorted(compareBytes)
  const repeats = sorted.some((value, i) => i > 0 && sameBytes(value, sorted[i - 1] ?? value))
  mustHold(!repeats, 'keys', otherwise)
}

import type { AccountId, ListedDevice, PublicKey } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import type { VerifiedList } from '../verifiedlist.ts'
import { mustHold } from './errors.ts'
import type { LeafIdentity, ListRef, Standings } from './shared.ts'

/** The verified lists that the caller has: the account's list at exactly this version, or nothing. */
export type KnownLists = (ref: ListRef) => VerifiedList | undefined

/** An operation met lists that the caller has not verified yet: fetch exactly these, then try again. §6.10 */
export interface NeedsLists {
  readonly kind: 'needs'
  readonly lists: readonly ListRef[]
}

/** The present version of a list, as conversations refer to it. */
export function refOf({ account, version, hash }: ListRef): ListRef {
  return { account, version, hash }
}

/** Those of `refs` that the caller does not know. */
export function missingFrom(lists: KnownLists, refs: readonly ListRef[]): readonly ListRef[] {
  return refs.filter((ref) => find(lists, ref) === undefined).map(refOf)
}

/** The list that `ref` names; whoever calls has made sure that it is known. */
export function listAt(lists: KnownLists, ref: ListRef): VerifiedList {
  const list = find(lists, ref)
  if (list === undefined) throw new Error('a list is used that was not asked for first')
  return list
}

/** Throws `list` unless `list` continues what was used here last, and is not older. §6.10 */
export function mustContinue(list: VerifiedList, used: Pick<ListRef, 'version' | 'hash'>): void {
  const then = list.hashes[used.version - 1]
  mustHold(then !== undefined, 'list', `version ${list.version} of a list of which version ${used.version} was used`)
  mustHold(sameBytes(then, used.hash), 'list', 'the list has another history than the one that was used')
}

/** The certificate under which the device stands on `list`, or `list` if there is none with this key. §4.4 */
export function certificateOn(list: VerifiedList, { device }: LeafIdentity, signatureKey: PublicKey): ListedDevice {
  const listed = list.devices.find((each) => sameBytes(each.device, device))
  mustHold(listed !== undefined, 'list', 'the device is not on the list of its account')
  mustHold(sameBytes(listed.signatureKey, signatureKey), 'list', 'the leaf has another key than the list says')
  return listed
}

export function standingOf(standings: Standings, account: AccountId): Standings[number] | undefined {
  return standings.find((each) => sameBytes(each.account, account))
}

/** What the caller gives is not taken at its word: a wrong version would split the members. */
function find(lists: KnownLists, ref: ListRef): VerifiedList | undefined {
  const list = lists(ref)
  if (list === undefined || list.version !== ref.version) return undefined
  return sameBytes(list.account, ref.account) && sameBytes(list.hash, ref.hash) ? list : undefined
}

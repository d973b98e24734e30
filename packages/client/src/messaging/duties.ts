import type { VerifiedList } from '@messageu/e2ee'
import type { Departure, View } from '@messageu/e2ee/conversation'
import type { AccountId, DeviceId } from '@messageu/protocol/v3'
import { isAmong, sameBytes } from '../bytes.ts'
import { messagingLimits as limits } from './limits.ts'

/** An account's word that it leaves: in which generation, and when this device had it, by its own clock. */
export interface Word extends Departure {
  readonly generation: number
  readonly at: number
}

/** Whoever owns nothing may take out only those whose word a commit can show. */
interface Departed extends Word {
  readonly isProven: boolean
}

/** What a member ought to commit, by what the device lists and the departures say. CONVERSATIONS D 2 */
export interface Duties {
  /** Devices that their account's list has no more. */
  readonly delisted: readonly { readonly account: AccountId; readonly device: DeviceId }[]
  /** Accounts that have left, each with one device's word for it. */
  readonly departed: readonly Departed[]
  /** Member accounts with listed devices that are not here. */
  readonly missing: readonly AccountId[]
}

/**
 * What a device of `own` can do. `newest` has the newest known list of each account: a closed one has no device on it.
 */
export function dutiesOf(
  view: View,
  own: AccountId,
  { newest, departures }: { newest: NewestLists; departures: readonly Word[] },
): Duties {
  const { kind, members, owners, roster, lists, invited } = view
  const delisted = members.filter(
    ({ account, device }) => newest(account) !== undefined && !isListed(newest, account, device),
  )
  const standing = departures.filter((word) => stands(view, word))
  const isOwner = isAmong(own, owners)
  const departed = standing
    .filter(({ account }) => has(members, account))
    .map((word) => ({ ...word, isProven: isProven(view, word, newest) }))
    .filter((each) => isOwner || each.isProven)
  const accounts = kind === 'group' ? lists.map(({ account }) => account) : invited
  const missing = accounts.filter(
    (account) =>
      !has(standing, account) && (newest(account)?.devices.some(({ device }) => !isAmong(device, roster)) ?? false),
  )
  return { delisted, departed, missing }
}

type NewestLists = (account: AccountId) => VerifiedList | undefined

/** Whether the word still counts: not once the account is out, nor when it has been brought back since. */
export function stands({ generation, lists, invited }: View, word: Word): boolean {
  const here = lists.find(({ account }) => sameBytes(account, word.account))
  if (word.generation < generation) return here !== undefined || isAmong(word.account, invited)
  return here !== undefined && here.since <= word.epoch
}

/** Whether a commit can show it: by that anybody may take the account out. Protocol 3 §6.10 */
function isProven({ generation, members }: View, word: Word, newest: NewestLists): boolean {
  const { account, device } = word
  const isHere = members.some((member) => sameBytes(member.device, device))
  return isHere && word.generation === generation && isListed(newest, account, device)
}

function isListed(newest: NewestLists, account: AccountId, device: DeviceId): boolean {
  return newest(account)?.devices.some((listed) => sameBytes(listed.device, device)) ?? false
}

function has(all: readonly { readonly account: AccountId }[], account: AccountId): boolean {
  return all.some((each) => sameBytes(each.account, account))
}

/**
 * What a device of `account` does at once, and what it leaves to others for a while: its own account's devices are its
 * own to see to, a group's owners take out who has left, and what nobody else has done in time is anybody's.
 */
export function split(
  { delisted, departed, missing }: Duties,
  { account, isOwner, nowMs }: { account: AccountId; isOwner: boolean; nowMs: number },
): { atOnce: Duties; later: Duties } {
  const isOwn = (each: { account: AccountId }): boolean => sameBytes(each.account, account)
  const isDue = ({ at }: Departed): boolean => isOwner || at + limits.dutyDelayMaxMs <= nowMs
  return {
    atOnce: {
      delisted: delisted.filter(isOwn),
      departed: departed.filter(isDue),
      missing: missing.filter((each) => sameBytes(each, account)),
    },
    later: {
      delisted: delisted.filter((each) => !isOwn(each)),
      departed: departed.filter((each) => !isDue(each)),
      missing: missing.filter((each) => !sameBytes(each, account)),
    },
  }
}

export function isNothing({ delisted, departed, missing }: Duties): boolean {
  return delisted.length === 0 && departed.length === 0 && missing.length === 0
}

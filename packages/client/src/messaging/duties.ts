import type { VerifiedList } from '@messageu/e2ee'
import type { Departure, View } from '@messageu/e2ee/conversation'
import type { AccountId, DeviceId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'

/** What a member ought to commit, by what the device lists and the departures say. CONVERSATIONS D 2 */
export interface Duties {
  /** Devices that their account's list has no more. */
  readonly delisted: readonly { readonly account: AccountId; readonly device: DeviceId }[]
  /** Accounts that have left, each with one device's word for it. */
  readonly departed: readonly Departure[]
  /** Member accounts with listed devices that are not here. */
  readonly missing: readonly AccountId[]
}

/** `newest` has the newest known list of each account. A closed account has no device on it. */
export function dutiesOf(
  { kind, members, roster, lists, invited }: View,
  newest: (account: AccountId) => VerifiedList | undefined,
  departures: readonly Departure[],
): Duties {
  const delisted = members.filter(({ account, device }) => {
    const list = newest(account)
    return list !== undefined && !list.devices.some((listed) => sameBytes(listed.device, device))
  })
  const departed = departures.filter(({ account }) => members.some((member) => sameBytes(member.account, account)))
  const accounts = kind === 'group' ? lists.map(({ account }) => account) : invited
  const missing = accounts.filter(
    (account) =>
      !departures.some((departure) => sameBytes(departure.account, account)) &&
      (newest(account)?.devices.some(({ device }) => !roster.some((each) => sameBytes(each, device))) ?? false),
  )
  return { delisted, departed, missing }
}

/** Those that concern one account, and those that concern others: its own devices see to the former at once. */
export function split({ delisted, departed, missing }: Duties, own: AccountId): { own: Duties; others: Duties } {
  const isOwn = ({ account }: { account: AccountId }): boolean => sameBytes(account, own)
  return {
    own: {
      delisted: delisted.filter(isOwn),
      departed: [],
      missing: missing.filter((account) => sameBytes(account, own)),
    },
    others: {
      delisted: delisted.filter((each) => !isOwn(each)),
      departed: departed.filter((each) => !isOwn(each)),
      missing: missing.filter((account) => !sameBytes(account, own)),
    },
  }
}

export function isNothing({ delisted, departed, missing }: Duties): boolean {
  return delisted.length === 0 && departed.length === 0 && missing.length === 0
}

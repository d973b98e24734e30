import { type Infer, list, struct, u16 } from '@messageu/protocol'
import { AccountId, DeviceId, PublicKey } from '@messageu/protocol/v3'
import { compareBytes, sameBytes } from '../bytes.ts'
import { limits } from './limits.ts'
import type { LeafIdentity } from './shared.ts'

/** A device in the tree, with the keys that its account's list certifies. */
export const Member = struct({
  leaf: u16,
  account: AccountId,
  device: DeviceId,
  signatureKey: PublicKey,
  requestKey: PublicKey,
})
export type Member = Infer<typeof Member>
export const Members = list(Member, { max: limits.devicesPerConversationMax })

/** Who a device is, as far as it is shown. */
export type Person = Pick<Member, 'account' | 'device'>

/** A leaf as it says of itself; nothing of it is checked against a list yet. */
export interface Claim {
  readonly identity: LeafIdentity
  readonly signatureKey: PublicKey
}

export interface Leaf extends Claim {
  readonly leaf: number
}

export function rosterOf(members: readonly { readonly device: DeviceId }[]): readonly DeviceId[] {
  return members.map(({ device }) => device)
}

/** Whether two rosters name the same devices. What is signed lists them by leaf; the server may keep another order. */
export function sameRoster(one: readonly DeviceId[], other: readonly DeviceId[]): boolean {
  const [first, second] = [one.toSorted(compareBytes), other.toSorted(compareBytes)]
  return first.length === second.length && first.every((device, i) => sameBytes(device, second[i] ?? nobody))
}

const nobody = new Uint8Array()

export function memberOf(members: readonly Member[], device: DeviceId): Member | undefined {
  return members.find((member) => sameBytes(member.device, device))
}

export function hasAccount(members: readonly Pick<Member, 'account'>[], account: AccountId): boolean {
  return members.some((member) => sameBytes(member.account, account))
}

export function personOf({ account, device }: Person): Person {
  return { account, device }
}

import { type Content, readAuthored } from '@messageu/e2ee/conversation'
import type { AccountId, ConversationId, DeviceId, gapReasons, SendId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import type { changeKinds, HistoryRow, Told } from './rows.ts'

/** Somebody, as they are shown: by the name that their account was registered under. */
export interface Somebody {
  readonly account: AccountId
  readonly name: string
}

/** Where something stands in a conversation; the time is the server's, in milliseconds since 1970. */
interface Placed {
  readonly conversation: ConversationId
  /** In the history of this device: grows, and is no other one's. */
  readonly place: number
  /** By the server, which counts anew when it was restored. */
  readonly sequence: number
  readonly at: number
}

/** A message, of another device or of this one. */
export interface Message extends Placed {
  readonly kind: 'message'
  readonly id: SendId
  readonly from: Somebody
  readonly device: DeviceId
  /** Whether an own device has sent it. */
  readonly isOwn: boolean
  /** By the sender's clock: for display, never for ordering. */
  readonly sentAt: number
  readonly content: Content
}

/** What stands in the history of a conversation. */
export type Item =
  | Message
  | (Placed & {
      readonly kind: 'change'
      readonly by: Somebody
      readonly change: keyof typeof changeKinds
      readonly arrived: readonly (Somebody & { readonly device: DeviceId })[]
      readonly left: readonly (Somebody & { readonly device: DeviceId })[]
    })
  /** This device was brought in. */
  | (Placed & { readonly kind: 'joined'; readonly by: Somebody; readonly members: readonly Somebody[] })
  /** Something that this device could not open. It may still be healed. */
  | (Placed & { readonly kind: 'unopened'; readonly id: SendId | undefined; readonly reason: string })
  /** Places that were never delivered, and why. */
  | (Placed & { readonly kind: 'gap'; readonly through: number; readonly why: keyof typeof gapReasons })

/** What has no place in a conversation. */
export interface Event {
  readonly kind: 'told'
  readonly at: number
  readonly told: Told
  /** The accounts that it is about, by name, where they are known. */
  readonly names: readonly Somebody[]
}

/** What comes in, in the order in which it came. */
export type Arrival = Item | Event

export type Naming = (account: AccountId) => Somebody

export function itemOf({ place, row }: { place: number; row: HistoryRow }, naming: Naming, own: AccountId): Item {
  const { conversation, sequence, at, entry } = row
  const placed = { conversation, place, sequence, at }
  switch (entry.kind) {
    case 'message': {
      const { sender, authored } = entry.body
      const { header, content } = readAuthored(authored)
      const isOwn = sameBytes(sender.account, own)
      const from = naming(sender.account)
      return {
        kind: 'message',
        ...placed,
        id: header.id,
        from,
        device: sender.device,
        isOwn,
        sentAt: header.clock,
        content,
      }
    }
    case 'change': {
      const { by, change, arrived, left } = entry.body
      const named = ({ account, device }: { account: AccountId; device: DeviceId }) => ({ ...naming(account), device })
      return {
        kind: 'change',
        ...placed,
        by: naming(by.account),
        change,
        arrived: arrived.map(named),
        left: left.map(named),
      }
    }
    case 'joined': {
      const { by, members } = entry.body
      return { kind: 'joined', ...placed, by: naming(by.account), members: distinct(members).map(naming) }
    }
    case 'unopened': {
      const { id, reason } = entry.body
      return { kind: 'unopened', ...placed, id, reason }
    }
    case 'gap': {
      const { through, why } = entry.body
      return { kind: 'gap', ...placed, through, why }
    }
  }
}

/** The accounts that something told is about. */
export function accountsIn({ body }: Told): readonly AccountId[] {
  if (body === undefined) return []
  const named = [
    ...('account' in body ? [body.account] : []),
    ...('by' in body && body.by !== undefined ? [body.by] : []),
    ...('members' in body ? body.members.map(({ account }) => account) : []),
  ]
  return named.filter((account, i) => named.findIndex((each) => sameBytes(each, account)) === i)
}

function distinct(people: readonly { readonly account: AccountId }[]): readonly AccountId[] {
  const accounts = people.map(({ account }) => account)
  return accounts.filter((account, i) => accounts.findIndex((each) => sameBytes(each, account)) === i)
}

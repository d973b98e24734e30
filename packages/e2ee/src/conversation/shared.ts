import { type Codec, decode, encode, type Infer, list, malformed, mapped, struct, u32, u64 } from '@messageu/protocol'
import {
  AccountId,
  ConversationId,
  ConversationKind,
  contexts,
  DeviceId,
  Hash,
  inContext,
  Roster,
  SendId,
  Signature,
} from '@messageu/protocol/v3'
import { compareBytes, joined } from '../bytes.ts'
import { sha256 } from '../hash.ts'
import { limits } from './limits.ts'

// What all members of a conversation share, byte by byte. Whether a commit is valid depends on nothing else.

/** The MLS group id. §6.1 */
export const GroupId = struct({ conversation: ConversationId, generation: u32 })
export type GroupId = Infer<typeof GroupId>

/** A device list at one version. §4.3 */
export const ListRef = struct({ account: AccountId, version: u32, hash: Hash })
export type ListRef = Infer<typeof ListRef>

/** The identity in an MLS credential: whose leaf it is, and the list that the device knew itself to be on. §6.10 */
export const LeafIdentity = struct({ device: DeviceId, list: ListRef })
export type LeafIdentity = Infer<typeof LeafIdentity>

/**
 * An account that has a device here: the newest version of its list that was used in this conversation, below which
 * nobody goes, and the epoch in which its first device came. §6.10
 */
export const Standing = struct({ account: AccountId, version: u32, hash: Hash, since: u64 })
export type Standing = Infer<typeof Standing>

/** One standing per account, in the order of the account ids. Travels in every GroupInfo; commits sign its hash. */
export const Standings = ascending(list(Standing, { max: limits.devicesPerConversationMax }), (each) => each.account)
export type Standings = Infer<typeof Standings>

const Accounts = ascending(list(AccountId, { max: limits.devicesPerConversationMax }), (account) => account)

/** Who may do what; the one extension of the group context. §6.10 */
export const ConversationRules = struct({
  kind: ConversationKind,
  /** In a group: the accounts that add, remove and appoint owners. */
  owners: Accounts,
  /** Accounts that any member may bring in: both sides of a direct conversation, and everybody when one is re-created. */
  invited: Accounts,
})
export type ConversationRules = Infer<typeof ConversationRules>

/** One device's word that its account leaves. §6.10 */
export const Departure = struct({ account: AccountId, device: DeviceId, epoch: u64, signature: Signature })
export type Departure = Infer<typeof Departure>
export const DepartureStatement = struct({ group: GroupId, epoch: u64, account: AccountId, device: DeviceId })

/** The signed associated data of a commit. §6.10 */
export const CommitNote = struct({
  group: GroupId,
  id: SendId,
  number: u64,
  /** The devices after it, in the order of their leaves. */
  roster: Roster,
  /** The list that decides for each account that the commit adds, removes or lets rejoin. */
  lists: ascending(list(ListRef, { max: limits.addsPerCommitMax }), (each) => each.account),
  departures: list(Departure, { max: limits.departuresPerCommitMax }),
  /** Of the standings after it. */
  standings: Hash,
})
export type CommitNote = Infer<typeof CommitNote>

/** The associated data of an application message. §6.10 */
export const SendNote = struct({ group: GroupId, id: SendId, number: u64 })
export type SendNote = Infer<typeof SendNote>

/** Since when and how long a key package is good; milliseconds since 1970. §5.4 */
export const Lifetime = struct({ notBefore: u64, notAfter: u64 })
export type Lifetime = Infer<typeof Lifetime>

export function hashOf(...parts: readonly Uint8Array[]): Hash {
  return decode(Hash, sha256(joined(...parts)))
}

// Request keys sign two things in a conversation; the first byte keeps them apart.
const authored = Uint8Array.of(1)
const departing = Uint8Array.of(2)

/** What an author signs of a message. §6.11 */
export function authorshipOf(message: Uint8Array): Uint8Array {
  return inContext(contexts.author, authored, message)
}

/** What a device signs to say that its account leaves. §6.10 */
export function departureOf(statement: Infer<typeof DepartureStatement>): Uint8Array {
  return inContext(contexts.author, departing, encode(DepartureStatement, statement))
}

/** A list in one order only and with nothing twice, so that the same set is always the same bytes. */
function ascending<T>(codec: Codec<readonly T[]>, keyOf: (item: T) => Uint8Array): Codec<readonly T[]> {
  const checked = (items: readonly T[]): readonly T[] => {
    items.forEach((item, i) => {
      const before = items[i - 1]
      if (before !== undefined && compareBytes(keyOf(before), keyOf(item)) >= 0)
        throw malformed('a list that has to be in ascending order is not')
    })
    return items
  }
  return mapped(codec, { from: checked, to: checked })
}

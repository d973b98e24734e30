import {
  bool,
  bytes,
  type Infer,
  list,
  mapped,
  named,
  nothing,
  optional,
  struct,
  text,
  u8,
  u16,
  u32,
  u64,
  union,
} from '../codec.ts'
import { ListEntry } from './identity.ts'
import {
  AccountId,
  ConversationId,
  DeviceId,
  Hash,
  Incarnation,
  Invite,
  Nonce,
  PublicKey,
  SendId,
  Signature,
} from './ids.ts'
import { limits } from './limits.ts'
import { type AccountName, accountName } from './name.ts'

const Name = mapped(text({ max: limits.nameBytesMax }), {
  from: accountName,
  to: (name: AccountName): string => name,
})
/** A list entry as the bytes that are hashed and signed. */
const EntryBytes = bytes({ max: ListEntry.max })
const Handshake = bytes({ max: limits.handshakeBytesMax })
/** The certificate's public key, hashed (SubjectPublicKeyInfo, RFC 5280 §4.1), or nothing without TLS or behind a proxy. */
const CertificateHash = optional(Hash)

// ─── sessions, §3 ───

/** The server's first words. §3.1 */
export const Hello = struct({
  minorMin: u16,
  minorMax: u16,
  incarnation: Incarnation,
  nonce: Nonce,
  serverKey: PublicKey,
  frameBytesMax: u32,
  sealedBytesMax: u32,
  outstandingMax: u32,
})
export type Hello = Infer<typeof Hello>

/** What a device signs with its request key, and the server after it. §3.3 */
export const SessionTranscript = struct({
  /** Whole, or somebody in between could take newer minor versions out of the offer. */
  hello: Hello,
  minor: u16,
  certificate: CertificateHash,
  host: text({ max: limits.hostBytesMax }),
  clientNonce: Nonce,
  device: DeviceId,
})
export type SessionTranscript = Infer<typeof SessionTranscript>

export const Proof = struct({
  minor: u16,
  certificate: CertificateHash,
  host: text({ max: limits.hostBytesMax }),
  nonce: Nonce,
  device: DeviceId,
  signature: Signature,
})
export type Proof = Infer<typeof Proof>

/** §3.4 */
export const SessionOpened = struct({
  /** By the server key, over the transcript and the device's signature. */
  signature: Signature,
  account: AccountId,
  isAdmin: bool,
  listVersion: u32,
  listHash: Hash,
  /** The highest send number accepted from this device; 0 before the first. */
  sendNumber: u64,
  /** Everything up to here was acknowledged. */
  acknowledged: u64,
  /** The newest position of the whole server. */
  position: u64,
  /** Server's clock, milliseconds since 1970. */
  at: u64,
})
export type SessionOpened = Infer<typeof SessionOpened>

// ─── accounts, §4 and §5 ───

export const Registration = struct({
  entry: EntryBytes,
  invite: optional(Invite),
  /** The id of the conversation of the account's own devices, which exists from now on. §6.1 */
  ownDevices: ConversationId,
})
export type Registration = Infer<typeof Registration>

export const Registered = struct({ account: AccountId, ownDevices: ConversationId, isAdmin: bool })
export type Registered = Infer<typeof Registered>

export const Recovery = struct({ account: AccountId, entry: EntryBytes })
export const Appended = struct({ version: u32, hash: Hash })
export const ListRequest = struct({ account: AccountId, after: u32 })
export const ListPage = struct({ version: u32, entries: list(EntryBytes, { max: limits.pageMax }) })
export type ListPage = Infer<typeof ListPage>

export const Person = struct({ account: AccountId, name: Name, listVersion: u32, listHash: Hash })
export type Person = Infer<typeof Person>
/** People in order of their names' bytes. */
export const PeopleRequest = struct({ after: optional(Name) })
export const PeoplePage = struct({
  /** Whether the operator shows everybody, or only those that one has a conversation with. */
  isDirectory: bool,
  people: list(Person, { max: limits.pageMax }),
  isLast: bool,
})

export const KeyPackage = struct({
  isLastResort: bool,
  /** Milliseconds since 1970; from then on the server does not hand it out. */
  notAfter: u64,
  keyPackage: bytes({ max: limits.keyPackageBytesMax }),
})
export type KeyPackage = Infer<typeof KeyPackage>
export const KeyPackages = list(KeyPackage, { max: limits.keyPackagesPerDeviceMax + 1 })
export const KeyPackageCount = struct({ singleUse: u32, hasLastResort: bool })
export const ClaimedPackage = struct({
  device: DeviceId,
  isLastResort: bool,
  keyPackage: bytes({ max: limits.keyPackageBytesMax }),
})
export type ClaimedPackage = Infer<typeof ClaimedPackage>

// ─── conversations, §6 ───

export const conversationKinds = { 'own-devices': 1, self: 2, direct: 3, group: 4 } as const
export const ConversationKind = named(u8, conversationKinds)
export type ConversationKind = Infer<typeof ConversationKind>

export const Roster = list(DeviceId, { max: limits.devicesPerConversationMax })

export const OpeningTarget = union({
  self: { tag: conversationKinds.self, body: nothing },
  direct: { tag: conversationKinds.direct, body: AccountId },
})
/** §6.2 */
export const Opening = struct({
  /** The id to use if there is none yet. */
  conversation: ConversationId,
  target: OpeningTarget,
})
export type Opening = Infer<typeof Opening>
export const Opened = struct({ conversation: ConversationId, generation: u32, isNew: bool })

/** One Welcome for one or more of the devices that a commit adds. */
export const AddressedWelcome = struct({
  devices: list(DeviceId, { max: limits.devicesPerConversationMax }),
  welcome: Handshake,
})

/** §6.4 */
export const Commit = struct({
  conversation: ConversationId,
  generation: u32,
  id: SendId,
  number: u64,
  /** The epoch that the commit was made in. */
  epoch: u64,
  commit: Handshake,
  /** The devices after it. */
  roster: Roster,
  welcomes: list(AddressedWelcome, { max: limits.welcomesPerCommitMax }),
  /** The GroupInfo of the result, with the external key and without the tree (RFC 9420 §12.4.3). */
  groupInfo: Handshake,
  tree: Handshake,
})
export type Commit = Infer<typeof Commit>

/** §6.6 */
export const Send = struct({
  conversation: ConversationId,
  generation: u32,
  id: SendId,
  number: u64,
  epoch: u64,
  sealed: bytes({ max: limits.sealedBytesMax }),
})
export type Send = Infer<typeof Send>

/** Where a send or commit stands. The same for every repetition. §6.5 */
export const Accepted = struct({
  sequence: u64,
  position: u64,
  /** Server's clock, milliseconds since 1970. */
  at: u64,
})
export type Accepted = Infer<typeof Accepted>

export const ConversationRef = struct({ conversation: ConversationId })

/** §6.7 */
export const ConversationState = struct({
  kind: ConversationKind,
  generation: u32,
  epoch: u64,
  floor: u64,
  /** The newest in the conversation; 0 before the first. */
  sequence: u64,
  roster: Roster,
  /** Empty before the first commit of a generation. */
  groupInfo: Handshake,
  treeHash: Hash,
})
export type ConversationState = Infer<typeof ConversationState>
export const TreeRequest = struct({ conversation: ConversationId, treeHash: Hash })
export const Tree = struct({ tree: Handshake })
export const ConversationsRequest = struct({ after: optional(ConversationId) })
export const ConversationEntry = struct({
  conversation: ConversationId,
  kind: ConversationKind,
  generation: u32,
  isOnRoster: bool,
})
export const ConversationsPage = struct({
  conversations: list(ConversationEntry, { max: limits.pageMax }),
  isLast: bool,
})

/** §6.8: the generation to begin, one above the present one. */
export const Recreation = struct({
  conversation: ConversationId,
  generation: u32,
  roster: Roster,
})
/** §6.9 */
export const Stuck = struct({ conversation: ConversationId, generation: u32, epoch: u64 })

/** §7.4 */
export const GapRequest = struct({ conversation: ConversationId, from: u64, through: u64 })
export const gapReasons = { 'not-addressed': 1, expired: 2, lost: 3, waiting: 4, acknowledged: 5 } as const
export const Gap = struct({ from: u64, through: u64, why: named(u8, gapReasons) })
export const Gaps = list(Gap, { max: limits.pageMax })

// ─── delivery, §7 ───

/** More that may be under way: added to what was granted before. §7.2 */
export const Credit = struct({ messages: u32, bytes: u32 })
export const Acknowledgement = struct({ through: u64 })

export const deliveryKinds = { application: 1, commit: 2, welcome: 3 } as const
/** §7.1: what `sealed` holds depends on `kind`. */
export const Delivery = struct({
  position: u64,
  conversation: ConversationId,
  generation: u32,
  sequence: u64,
  /** Server's clock at acceptance, milliseconds since 1970. */
  at: u64,
  kind: named(u8, deliveryKinds),
  sealed: bytes({ max: limits.deliveredBytesMax }),
})
export type Delivery = Infer<typeof Delivery>

/** `sealed` of a delivered commit. §7.1 */
export const DeliveredCommit = struct({ epoch: u64, sender: DeviceId, id: SendId, commit: Handshake, roster: Roster })
export type DeliveredCommit = Infer<typeof DeliveredCommit>
/** `sealed` of a delivered Welcome: it stands at the sequence of its commit. §7.1 */
export const DeliveredWelcome = struct({ epoch: u64, sender: DeviceId, treeHash: Hash, welcome: Handshake })
export type DeliveredWelcome = Infer<typeof DeliveredWelcome>

/** §7.6 */
export const Notice = union({
  /** Another session of this device is newer: this one ends. */
  superseded: { tag: 1, body: nothing },
  /** The device is no longer on its list: this session ends. */
  delisted: { tag: 2, body: nothing },
  /** The server goes down: come back after so many milliseconds. */
  stopping: { tag: 3, body: struct({ retryAfterMs: u32 }) },
  /** The list of an account in one of one's conversations, or one's own, has grown. */
  'list-changed': { tag: 4, body: struct({ account: AccountId, version: u32, hash: Hash }) },
  'key-packages-low': { tag: 5, body: KeyPackageCount },
  /** Somebody who is not accepted has begun a conversation. */
  request: { tag: 6, body: Person },
  /** A member cannot follow: who can answers with an empty commit. */
  stuck: { tag: 7, body: struct({ conversation: ConversationId, generation: u32, epoch: u64, device: DeviceId }) },
  /** A conversation was created anew, or its members have all gone. */
  regenerated: { tag: 8, body: struct({ conversation: ConversationId, generation: u32 }) },
  /** A member asked to be taken off; fan-out to it has ended. */
  left: { tag: 9, body: struct({ conversation: ConversationId, generation: u32, account: AccountId }) },
  /** Everything that waited for the device was delivered in this session. */
  'caught-up': { tag: 10, body: nothing },
})
export type Notice = Infer<typeof Notice>

// ─── people one does not know yet, §8 ───

export const ContactRequest = struct({ account: AccountId, name: Name, conversation: ConversationId, at: u64 })
export type ContactRequest = Infer<typeof ContactRequest>
export const ContactRequests = list(ContactRequest, { max: limits.pageMax })
export const verdicts = { accept: 1, refuse: 2, block: 3, unblock: 4 } as const
export const Judgement = struct({ account: AccountId, verdict: named(u8, verdicts) })

// ─── administrators, §9 ───

export const NewInvite = struct({ isAdmin: bool })
export const Invited = struct({ invite: Invite, notAfter: u64 })
export const AccountSetting = union({
  /** Bytes that the account may keep stored at the server. */
  quota: { tag: 1, body: struct({ account: AccountId, bytes: u64 }) },
  disabled: { tag: 2, body: struct({ account: AccountId, isDisabled: bool }) },
})
export type AccountSetting = Infer<typeof AccountSetting>
export const AccountsRequest = struct({ after: optional(Name) })
export const AccountEntry = struct({
  account: AccountId,
  name: Name,
  isAdmin: bool,
  isDisabled: bool,
  devices: u32,
  storedBytes: u64,
  quotaBytes: u64,
  createdAt: u64,
})
export const AccountsPage = struct({ accounts: list(AccountEntry, { max: limits.pageMax }), isLast: bool })

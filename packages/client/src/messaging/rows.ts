import { Authored, Suite } from '@messageu/e2ee/conversation'
import {
  bool,
  bytes,
  type Infer,
  list,
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
} from '@messageu/protocol'
import {
  AccountId,
  ConversationId,
  ConversationKind,
  DeviceId,
  gapReasons,
  Hash,
  Incarnation,
  PublicKey,
  limits as protocol,
  reasonCodes,
  SendId,
  Signature,
} from '@messageu/protocol/v3'
import { alarmKinds } from '../rows.ts'
import { messagingLimits as limits } from './limits.ts'

// What a device keeps of its conversations, row by row.

export const Person = struct({ account: AccountId, device: DeviceId })
export type Person = Infer<typeof Person>

/** Since when a commit that was accepted cannot be applied, in which epoch, and who signed it if a member did. */
const Stuck = struct({ since: u64, epoch: u64, by: optional(AccountId), why: text({ max: limits.wordsBytesMax }) })

/** Where the device stands in a conversation. */
const Standing = union({
  /** It has no place: somebody brings it in, or it rejoins. */
  waiting: { tag: 1, body: struct({ since: u64 }) },
  /** A stranger has brought it in: it is silent until the user has accepted. CONVERSATIONS C 11 */
  request: { tag: 2, body: struct({ by: AccountId, stuck: optional(Stuck) }) },
  active: { tag: 3, body: nothing },
  /** A commit was accepted that it cannot apply. CONVERSATIONS D 4 */
  stuck: { tag: 4, body: Stuck },
  left: { tag: 5, body: nothing },
  removed: { tag: 6, body: struct({ by: optional(AccountId) }) },
  /** A Welcome or the server says that there is a conversation, and nothing has proved it yet. Nobody is shown it. */
  announced: { tag: 7, body: struct({ since: u64, held: u32 }) },
  /** A request that was over before the user has decided about it: silent as before. */
  withdrawn: { tag: 8, body: struct({ by: AccountId, removedBy: optional(AccountId) }) },
})

/** A place in the sequence with the hash of everything in this epoch up to it. CONVERSATIONS C 8 */
const Mark = struct({ sequence: u64, hash: Hash })
export type Mark = Infer<typeof Mark>

/** How far everything of the present epoch has been seen without a gap, and what that comes to. */
const Transcript = struct({
  seen: Mark,
  /** One's own sends that were answered before everything in front of them has come: the hash of each. */
  ahead: list(Mark, { max: limits.aheadMax }),
  /** Places behind which others may be: newest last. */
  recent: list(Mark, { max: limits.recentMarks }),
})
export type Transcript = Infer<typeof Transcript>

export interface Range {
  readonly from: number
  readonly through: number
}
/** Sequences that did not come, and since when that is known. */
const Gap = struct({ from: u64, through: u64, since: u64 })
export type Gap = Infer<typeof Gap>

/** In place of the time of an update, and long ago: the own leaf has the keys of the key package by which it came. */
export const asPublished = 0

/** From where the sequences of an earlier incarnation of the server are counted, and how many places were received in it. */
const EarlierCount = struct({ incarnation: Incarnation, base: u64, length: u64 })

export const conversationRow = {
  table: 'conversations',
  codec: struct({
    conversation: ConversationId,
    /** Names it in the keys of the history; from 1 on. */
    number: u32,
    kind: ConversationKind,
    generation: u32,
    standing: Standing,
    /** Whom it is with, if it is a direct one. */
    peer: optional(AccountId),
    title: optional(text({ max: limits.titleBytesMax })),
    /** If this device has given the title: by which send, its place in the history, and whether it is lost to others. */
    ownTitle: optional(struct({ number: u64, place: u64, isLost: bool })),
    /** What sequences are counted from in the history, in which incarnation of the server; and before that, oldest first. */
    base: u64,
    incarnation: Incarnation,
    earlier: list(EarlierCount, { max: limits.earlierCountsMax }),
    /** The newest sequence that was delivered. */
    received: u64,
    /** The newest place in the history. */
    newest: u64,
    /** The newest epoch of this generation that is known of. */
    epoch: u64,
    /** What it was when the server was restored: that may know of other epochs up to there. */
    restoredEpoch: u64,
    transcript: Transcript,
    /** Sequences that were never delivered and not explained yet. */
    gaps: list(Gap, { max: limits.gapsMax }),
    /** One's own messages since the last update of the own leaf, and when that was, or `asPublished`. CONVERSATIONS D 5 */
    sentSinceUpdate: u32,
    updatedAt: u64,
    /** Whether somebody has to have looked at who is there before anything is sent. CONVERSATIONS D 3 */
    isUnseen: bool,
    /** The newest Welcomes that have brought it in: what comes again is nothing. */
    welcomes: list(Hash, { max: limits.welcomesRemembered }),
    /**
     * Commits may be lost: the server was restored or this device was away for long, and nobody has compared. And since when
     * the server shows no place for this account, if it did when that was tried.
     */
    doubt: optional(struct({ placelessSince: optional(u64) })),
    /** One's own commit that was accepted and has not come: it is waited for as long as it is pending. S07 */
    accepted: optional(struct({ id: SendId, since: u64 })),
    /** The place in the history from which on nothing has been shown, while it is silent. CONVERSATIONS C 11 */
    silentFrom: optional(u64),
    /** Whom this device still has to bring in, having begun it: nothing is sent before. CONVERSATIONS C 1, D 4 */
    awaited: list(AccountId, { max: protocol.devicesPerConversationMax }),
  }),
} as const
export type ConversationRow = Infer<(typeof conversationRow)['codec']>

/** Commits may be lost, and nobody has looked yet. */
export const doubted = { placelessSince: undefined } as const satisfies ConversationRow['doubt']

/** The row of a conversation of which commits may be lost, whatever is known about that already. */
export function doubtful(row: ConversationRow): ConversationRow {
  return { ...row, doubt: row.doubt ?? doubted }
}

// ─── what opens and seals ───

export const groupParts = { group: 0, ratchets: 1, earlier: 2, pending: 3 } as const
export const groupRow = {
  table: 'groups',
  codec: struct({
    engine: text({ max: 64 }),
    suite: Suite,
    group: bytes({ max: limits.stateBytesMax }),
  }),
} as const
export const stateRow = { table: 'groups', codec: bytes({ max: limits.stateBytesMax }) } as const
/** A commit of one's own that has no place in the sequence yet. */
export const pendingRow = {
  table: 'groups',
  codec: struct({
    id: SendId,
    generation: u32,
    epoch: u64,
    isRejoin: bool,
    advance: bytes({ max: limits.stateBytesMax }),
  }),
} as const
export type PendingRow = Infer<(typeof pendingRow)['codec']>

/** The newest send number of a device in a conversation, and which of those before it were seen: bit 0 is that one. */
export const senderRow = {
  table: 'senders',
  codec: struct({ newest: u64, seen: bytes({ max: limits.seenWindow / 8 }) }),
} as const

// ─── history ───

const Words = text({ max: limits.wordsBytesMax })
const People = list(Person, { max: protocol.devicesPerConversationMax })
export const changeKinds = { update: 1, add: 2, remove: 3, rules: 4, rejoin: 5 } as const

const Entry = union({
  message: { tag: 1, body: struct({ sender: Person, epoch: u64, authored: Authored }) },
  /** A commit and what it did to the members. */
  change: { tag: 2, body: struct({ by: Person, change: named(u8, changeKinds), arrived: People, left: People }) },
  /** Cannot be opened, and may still be healed. CONVERSATIONS C 9 */
  unopened: {
    tag: 3,
    body: struct({
      reason: Words,
      epoch: u64,
      /** As its envelope says: nobody has verified it. */
      id: optional(SendId),
      sealed: bytes({ max: protocol.sealedBytesMax }),
    }),
  },
  gap: { tag: 4, body: struct({ through: u64, why: named(u8, gapReasons) }) },
  joined: { tag: 5, body: struct({ by: Person, members: People }) },
})
export type Entry = Infer<typeof Entry>

export const historyRow = {
  table: 'history',
  codec: struct({
    conversation: ConversationId,
    generation: u32,
    sequence: u64,
    /** The server's time of acceptance, milliseconds since 1970. */
    at: u64,
    entry: Entry,
  }),
} as const
export type HistoryRow = Infer<(typeof historyRow)['codec']>

/** What was sealed and not answered yet, to seal it again or to keep it once it has its place. */
export const draftRow = {
  table: 'drafts',
  codec: struct({
    conversation: ConversationId,
    id: SendId,
    content: bytes({ max: limits.contentBytesMax }),
    authored: Authored,
    sealed: Hash,
  }),
} as const
export type DraftRow = Infer<(typeof draftRow)['codec']>

// ─── what is told ───

/** Something to be told that has no place in a sequence. */
const Told = union({
  request: { tag: 1, body: struct({ account: AccountId, conversation: ConversationId }) },
  devices: {
    tag: 2,
    body: struct({
      account: AccountId,
      added: list(DeviceId, { max: protocol.devicesPerAccountMax }),
      removed: list(DeviceId, { max: protocol.listEntriesMax }),
    }),
  },
  /** Members were given different commits. An alarm. */
  fork: { tag: 3, body: struct({ conversation: ConversationId, epoch: u64 }) },
  /** A member has seen something else in front of its message than this device. An alarm. */
  differs: { tag: 4, body: struct({ conversation: ConversationId, sequence: u64, account: AccountId }) },
  stuck: { tag: 5, body: struct({ conversation: ConversationId, by: optional(AccountId), why: Words }) },
  /** This device has taken its place again; these are there. */
  rejoined: { tag: 6, body: struct({ conversation: ConversationId, members: People }) },
  renewed: { tag: 7, body: struct({ conversation: ConversationId, generation: u32, by: AccountId }) },
  /** A message of this device was refused for good. */
  failed: {
    tag: 8,
    body: struct({
      conversation: ConversationId,
      id: SendId,
      reason: named(u16, reasonCodes),
      content: bytes({ max: limits.contentBytesMax }),
    }),
  },
  alarm: {
    tag: 9,
    body: struct({
      kind: named(u8, alarmKinds),
      account: AccountId,
      name: optional(text({ max: protocol.nameBytesMax })),
    }),
  },
  restored: { tag: 10, body: nothing },
  /** A Welcome that this device did not take. */
  unwelcome: { tag: 11, body: struct({ conversation: ConversationId, reason: Words }) },
  /** A key package that the server handed out and that is not good: its device stays out. */
  package: { tag: 12, body: struct({ account: AccountId, device: DeviceId, reason: Words }) },
})
export type Told = Infer<typeof Told>

export const feedRow = {
  table: 'feed',
  codec: union({
    /** A row of the history, by its key. */
    history: { tag: 1, body: u64 },
    told: { tag: 2, body: struct({ at: u64, told: Told }) },
  }),
} as const

// ─── what is to be done for others ───

export const errandRow = {
  table: 'errands',
  codec: union({
    /** An account has said that it leaves: its devices are to be taken out. One's own: the server is still to be told. */
    departure: {
      tag: 1,
      body: struct({
        conversation: ConversationId,
        generation: u32,
        account: AccountId,
        device: DeviceId,
        epoch: u64,
        signature: Signature,
        at: u64,
      }),
    },
    /** A member asks for messages that it could not open. */
    copies: {
      tag: 2,
      body: struct({
        /** Where it was asked, and where the answer goes. */
        through: ConversationId,
        conversation: ConversationId,
        asker: Person,
        messages: list(SendId, { max: limits.asksMax }),
        at: u64,
      }),
    },
    /** Something in the history could not be opened, and others may have it. */
    unopened: {
      tag: 3,
      body: struct({ conversation: ConversationId, place: u64, id: SendId, asked: u8, askedAt: u64 }),
    },
    /** A device of the own account is to be given what came before it. This device itself: it waits for that. */
    newcomer: {
      tag: 4,
      body: struct({
        device: DeviceId,
        /** Whether the user has let it in with this device, which then goes first. */
        isAdmitted: bool,
        /** Whether it is still to be given the key that manages the account. */
        isManager: bool,
        /** The last contact, and the last conversation, that it was given, in the order of their keys. */
        contact: optional(AccountId),
        history: optional(ConversationId),
      }),
    },
    /** Somebody has come to a group, or is about to, and nobody has said since that epoch what it is called. */
    untitled: {
      tag: 5,
      body: struct({
        conversation: ConversationId,
        title: text({ max: limits.titleBytesMax }),
        generation: u32,
        epoch: u64,
      }),
    },
    /** The user has decided about an account on this device: a restored server may have forgotten it, or a sibling not know. */
    verdict: { tag: 6, body: AccountId },
  }),
} as const
export type Errand = Infer<(typeof errandRow)['codec']>

// ─── other accounts, and how this device is reached ───

const standings = { stranger: 0, accepted: 1, refused: 2, blocked: 3 } as const
export const contactRow = {
  table: 'contacts',
  codec: struct({
    account: AccountId,
    name: text({ max: protocol.nameBytesMax }),
    standing: named(u8, standings),
    /** The account key that the user has compared. CONVERSATIONS A 6 */
    verified: optional(PublicKey),
    /** The direct conversation with it; for one's own account, the notes to oneself. */
    direct: optional(ConversationId),
    /** The newest version of its device list that its owner has named in a message: 0 for none. CONVERSATIONS A 7 */
    confirmed: u32,
    /** When its owner has last named the newest version that was known then, to an hour: 0 for never. S07 */
    confirmedAt: u64,
    /** The number of the next send when the user decided about it on this device: 0 if that was nowhere, or on another. */
    decidedBefore: u64,
  }),
} as const
export type ContactRow = Infer<(typeof contactRow)['codec']>

export const packageRow = {
  table: 'packages',
  codec: struct({
    isLastResort: bool,
    /** Of a last resort that the server has, when it said so. */
    madeAt: u64,
    notAfter: u64,
    keyPackage: bytes({ max: protocol.keyPackageBytesMax }),
    privateKeys: bytes({ max: protocol.keyPackageBytesMax }),
    /** The Welcomes that a last resort was used by. */
    welcomes: list(Hash, { max: limits.welcomesPerPackageMax }),
  }),
} as const
export type PackageRow = Infer<(typeof packageRow)['codec']>

/** Counters of this device, beside those of the connection. */
export const countersRow = {
  table: 'progress',
  codec: struct({
    /** The next free place in the feed, and the next number of a conversation. */
    feed: u64,
    conversations: u32,
    /** When the server said that it has the newest last resort: 0 if it may have gone on from a copy since. */
    lastResortAt: u64,
    /** Welcomes that were not taken and told of since then. */
    unwelcome: struct({ since: u64, told: u32 }),
  }),
} as const
export type Counters = Infer<(typeof countersRow)['codec']>

/** When a session was last opened, to a day. */
export const openedRow = { table: 'progress', codec: struct({ at: u64 }) } as const

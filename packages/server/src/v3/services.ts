import type { Infer } from '@messageu/protocol'
import type {
  AccountId,
  AccountName,
  ClaimedPackage,
  ContactRequest,
  ConversationId,
  DeviceCertificate,
  DeviceId,
  DeviceList,
  Invite,
  KeyPackage,
  Notice,
  OperationName,
  operations,
  PublicKey,
  Registration,
} from '@messageu/protocol/v3'
import type { ObjectChange } from '../archive.ts'
import type { Gathering, Replies } from './later.ts'

/** An account in memory. One object per account while anybody holds it: its fields change in place, when durable. */
export interface Account {
  /** From 1, in order of registration; never given again. */
  readonly number: number
  readonly id: AccountId
  readonly name: AccountName
  readonly list: DeviceList
  /** The devices on the list now. */
  readonly devices: readonly Device[]
  readonly isAdmin: boolean
  readonly isDisabled: boolean
  readonly quotaBytes: number
  readonly createdAt: number
}

/** A device in memory, listed or not any more. */
export interface Device {
  /** From 1 over all accounts; never given again. */
  readonly number: number
  readonly id: DeviceId
  readonly account: Account
  readonly certificate: DeviceCertificate
  readonly isListed: boolean
}

export type Registered = { account: Account; isNew: boolean }

/** Accounts, their device lists, names, invites and key packages. Refusals are `RefusedError`s. */
export interface Directory {
  account(id: AccountId): Promise<Account | undefined>
  accountByNumber(number: number): Promise<Account | undefined>
  /** The same, if it is in memory. */
  peekAccount(number: number): Account | undefined
  /** A device that was ever listed. */
  device(id: DeviceId): Promise<Device | undefined>
  deviceByNumber(number: number): Promise<Device | undefined>
  /** Exactly this name. */
  accountByName(name: AccountName): Promise<Account | undefined>
  /** In order of the names' bytes. */
  accountsAfter(name: AccountName | undefined, limit: number): Promise<readonly Account[]>

  /** `also` names what else comes into being with a new account, in the same step. */
  register(
    registration: Registration,
    also: (account: Account, device: Device) => readonly ObjectChange[],
  ): Promise<Registered>
  /** Continues an account's list by compare-and-swap. */
  append(account: Account, entry: Uint8Array): Promise<void>
  entries(account: Account, after: number, limit: number): Promise<readonly Uint8Array[]>

  publish(device: Device, packages: readonly KeyPackage[]): Promise<{ singleUse: number; hasLastResort: boolean }>
  countPackages(device: Device): Promise<{ singleUse: number; hasLastResort: boolean }>
  /** One of each listed device that has any. `isContact` chooses the quota. */
  claim(claimer: Account, account: Account, isContact: boolean): Promise<readonly ClaimedPackage[]>

  invite(options: { isAdmin: boolean }): Promise<{ invite: Invite; notAfter: number }>
  set(account: Account, change: { quotaBytes: number } | { isDisabled: boolean }): Promise<void>

  /** Called when a list has grown or an account was disabled, after that is durable. */
  onChange(listener: (account: Account, delisted: readonly Device[]) => void): void
  /** Called when a device has few single-use packages left. */
  onPackagesLow(listener: (device: Device, count: { singleUse: number; hasLastResort: boolean }) => void): void
}

/** Numbers that are never given twice, kept durable by whatever step first uses them. */
export interface Numbers {
  /** The next number, and the change that has to go into the step that uses it. */
  next(of: 'account' | 'device' | 'conversation'): { number: number; change: ObjectChange }
}

/** Conversations, as far as others need to know about them. */
export interface Conversations {
  /** What the conversation of an account's own devices consists of, for the step that registers the account. */
  founding(account: Account, device: Device, id: ConversationId): readonly ObjectChange[]
  /** The accounts that one shares a conversation with. */
  acquaintances(of: Account): Promise<readonly Account[]>
  areAcquainted(one: Account, other: Account): Promise<boolean>
  /** Bytes that an account keeps stored. */
  storedBytes(of: Account): Promise<number>
}

/** What waits for each device, and its way out through the session that is open. Protocol 3 §7. */
export interface Deliveries {
  /** A session was proved: from now on it gets what its device has not acknowledged, as far as it has credit. */
  attach(session: Session): Promise<void>
  detach(session: Session): void
  /** Resolves when it may be answered: at once, or with the acknowledgement that is under way. */
  credit(session: Session, more: { messages: number; bytes: number }): Promise<void> | undefined
  acknowledge(session: Session, through: number): Promise<void>
}

export type Standing = 'accepted' | 'stranger' | 'blocked'

/** What accounts think of each other. Protocol 3 §8. */
export interface Contacts {
  /** How `from` stands with `to`: accounts are their own contacts. */
  standing(from: Account, to: Account): Promise<Standing>
  /** The same, if nothing has to be read for it. */
  peekStanding(from: Account, to: Account): Standing | undefined
  /** `of` has decided about `other`; `direct` is what the decision was about. */
  judge(of: Account, other: Account, verdict: 'accept' | 'refuse' | 'block' | 'unblock'): Promise<void>
  /** A stranger has begun a conversation with `to`. Idempotent. Fails with `limited` when too many wait. */
  noteRequest(from: Account, to: Account, request: ContactRequest): Promise<void>
  requests(of: Account): Promise<readonly ContactRequest[]>
  /** Counts what a stranger sends towards `to`; fails with `limited` above the limits. Forgotten on acceptance. */
  chargeStranger(from: Account, to: Account, bytes: number): Promise<void>
}

/** A proved session, as far as operations need it. */
export interface Session {
  readonly device: Device
  readonly isOpen: boolean
  /** Bytes written and not yet taken by the network. */
  readonly backlog: number
  /**
   * Queues a frame, or several beside each other, of which so many are deliveries; everything queued in one turn of the
   * event loop leaves in one write.
   */
  send(frames: Uint8Array, deliveries?: number): void
  notice(notice: Notice): void
  /** Says why, and closes. */
  end(notice: Notice): void
  /** Called once the backlog has fallen to where more may be sent. */
  onDrain(listener: () => void): void
}

/** The sessions that are open now. At most one per device: the newer wins. */
export interface Sessions {
  ofDevice(number: number): Session | undefined
  ofAccount(account: Account): readonly Session[]
  readonly count: number
}

export interface Clock {
  /** Milliseconds since 1970; may jump. */
  nowMs(): number
  /** Milliseconds of a clock that never jumps. */
  monotonicMs(): number
}

export type Random = (count: number) => Uint8Array

export interface Policy {
  readonly registration: 'open' | 'invite' | 'closed'
  /** Whether `people` shows everybody. */
  readonly directory: boolean
  /** Bytes that a new account may keep stored. */
  readonly quotaBytes: number
}

/** Everything that an operation may use. */
export interface Services {
  readonly directory: Directory
  readonly contacts: Contacts
  readonly conversations: Conversations
  readonly deliveries: Deliveries
  readonly sessions: Sessions
  readonly clock: Clock
  readonly random: Random
  readonly policy: Policy
  readonly serverKey: PublicKey
}

/** Who asks: nobody in particular, or the device that has proved its session. */
export type AskerOf<N extends OperationName> = Operation<N>['caller'] extends 'anyone' ? { remote: string } : Session

/**
 * One operation: decides, and says what came of it. Decoding, the caller's right to ask at all, rates and the answer to
 * errors come before and after, in one place for all. Refuses with `RefusedError`.
 */
export type Handler<N extends OperationName> = (
  services: Services,
  asker: AskerOf<N>,
  request: RequestOf<N>,
) => Promise<ResponseOf<N>> | ResponseOf<N>

/** The same for what comes by the hundred thousand: asked once for each session. */
export type GatheringHandler = (services: Services, session: Session, replies: Replies) => Gathering

type Operation<N extends OperationName> = (typeof operations)[N]
export type RequestOf<N extends OperationName> = Infer<Operation<N>['request']>
export type ResponseOf<N extends OperationName> = Infer<Operation<N>['response']>

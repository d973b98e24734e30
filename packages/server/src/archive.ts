import type { SendId } from '@messageu/protocol/v3'
import type { SentRun } from './storage/sentrun.ts'

/**
 * The kinds of objects that version 3 keeps, and their keys. Values are encoded by a codec that stands with whoever
 * owns the kind. Numbers are the object's place in its table: never change one, never give one again.
 */
// biome-ignore format: the columns are the point
export const objectKinds = {
  server:        1,  // 'key' | 'incarnation' | 'numbers' …           what there is one of
  account:       2,  // account id                                    name, flags, quota, newest list
  accountNumber: 3,  // account number (8 bytes, big-endian)          account id
  listEntry:     4,  // account id, version (4 bytes, big-endian)     the entry's bytes
  name:          5,  // skeleton of a name (UTF-8)                    account id; stays when the account ends
  nameOrder:     6,  // name (UTF-8)                                  account id; for lists in order
  device:        7,  // device id                                     number, account id
  deviceNumber:  8,  // device number (8 bytes, big-endian)           device id
  keyPackage:    9,  // device number, order (8 + 8 bytes)            a key package
  invite:        10, // hash of the invite                            until when, for whom, used by
  contact:       11, // account number, other's number (8 + 8 bytes)  what the first has decided about the second
  claim:         12, // account number, claimer's number (8 + 8)      how many packages were claimed, since when
  conversation:  13, // conversation id                               kind, generation, epoch, roster, boxes …
  conversationNumber: 14, // number (8 bytes, big-endian)             conversation id
  pair:          15, // both account numbers, lower first (8 + 8)     the direct conversation's id
  member:        16, // account number, conversation number (8 + 8)   which devices, from and to which sequence
  handshake:     17, // conversation number, name                     newest GroupInfo, newest tree, trees for Welcomes
} as const

export type ObjectKind = keyof typeof objectKinds

/** One object to keep, or to forget when `value` is undefined. */
export interface ObjectChange {
  readonly kind: ObjectKind
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** What the server has to know about an accepted send for as long as it may be repeated. Protocol 3 §6.5. */
export interface SentRecord {
  /** The sender's device, by number. */
  readonly device: number
  /** The device's send number. */
  readonly number: number
  readonly id: SendId
  /** Where it stands in its conversation, and on the server. */
  readonly conversation: number
  readonly sequence: number
  /** 0 as long as the send is under way. */
  readonly position: number
  /** Server's clock, milliseconds since 1970. 0 as long as the send is under way. */
  readonly at: number
  /** 8 bytes that tell a repetition from a reuse. */
  readonly digest: Uint8Array
}

/** A message to put at the end of a box. */
export interface BoxMessage {
  readonly box: number
  /** What stands in the head of the stored form; a send's id, or zeros. */
  readonly id: SendId
  /** Whatever the reader needs later; opaque here. At most `archiveLimits.messageBytesMax` bytes. */
  readonly content: Uint8Array
  /** Set for what a device has sent, exactly once per send. */
  readonly sent?: Omit<SentRecord, 'id' | 'position' | 'at'> | undefined
}

/** Everything that one operation changes: all of it or nothing. */
export interface Step {
  readonly objects?: readonly ObjectChange[]
  readonly messages?: readonly BoxMessage[]
  /** Behind them, those that a device has sent in one go. */
  readonly run?: SentRun
  /** Forgets what lies in a box up to and including a position. */
  readonly trims?: readonly { readonly box: number; readonly through: number }[]
  /** A device has taken everything up to and including a position. Never goes back. */
  readonly acknowledged?: { readonly device: number; readonly through: number }
  /** The time that its messages get; that at which it is written, unless somebody was told another one. */
  readonly at?: number
}

/** Where the messages of a step were put, in the step's order, and when. */
export interface Stepped {
  readonly positions: readonly number[]
  readonly at: number
}

/** Who is told what became of something that was to be stored: one of the two, once. */
export interface Told<T = Stepped> {
  durable(stored: T): void
  refused(error: Error): void
}

/**
 * What is known of a device that sends, what is under way included. A view: valid in the turn of the event loop in
 * which it is handed out, and right at each moment of it.
 */
export interface Sends {
  /** The highest send number; 0 before the first. */
  readonly highest: number
  /**
   * By number, the records of all numbers above `highest - archiveLimits.recentSends`, and some below. `findSent` knows
   * the others.
   */
  readonly recent: ReadonlyMap<number, SentRecord>
  /** Whether `recent` has a number. */
  has(number: number): boolean
  /** The record among the recent ones that has this id. */
  withId(id: SendId): SentRecord | undefined
}

/** One message as it lies in a box. */
export interface Waiting {
  readonly position: number
  /** Bytes of its stored form. */
  readonly bytes: number
}

/**
 * A reader's place in one box. It stays right while others add and trim: what was trimmed is passed over. Cheap to make
 * and to move, whatever waits in the box; needs no disposal.
 */
export interface BoxReader {
  /** The oldest message behind the place, without moving on. */
  peek(): Waiting | undefined
  /** Moves behind what `peek` showed. */
  advance(): void
}

/** A message read back. `undefined` instead of one says that what is stored of it is missing or damaged. */
export interface StoredMessage {
  readonly position: number
  readonly id: SendId
  readonly content: Uint8Array
}

/**
 * What version 3 keeps, below its rules: objects by key, and messages in boxes in the order of arrival over the whole
 * server. It shares disk, threads, positions, quotas of the disk and the promise of durability with `Storage`, which is
 * version 2: once a step resolves, it is durable; when it throws a `ProtocolError`, nothing of it has happened
 * (`storage-full`, `busy`, `stopping`, `too-large`). After any other error only the next start knows.
 *
 * Steps take effect in the order of the calls. Whoever calls `step` may build on steps that are still under way: when
 * one is refused, all that were called behind it, until its caller has been told, are refused for the same reason.
 * Nobody is told before the steps in front are.
 *
 * Callers decide on what they hold in memory and then call `step`, without waiting in between: this process is the only
 * writer. `get` and `scan` tell what is durable, so whoever has a step under way keeps its outcome in memory until then.
 */
export interface Archive {
  /** The highest position given so far. */
  readonly position: number

  get(kind: ObjectKind, key: Uint8Array): Promise<Uint8Array | undefined>
  /** Objects whose key starts with `prefix`, in order of their keys' bytes, behind `after` if given. */
  scan(
    kind: ObjectKind,
    range: { readonly prefix: Uint8Array; readonly after?: Uint8Array | undefined; readonly limit: number },
  ): Promise<readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]>

  /**
   * One atomic, durable step: its objects in their order, then its messages, then its trims. What it holds must not
   * change until it is settled. A step above `archiveLimits` is `too-large`.
   */
  step(step: Step): Promise<Stepped>
  /**
   * The same without a promise, for what comes by the hundred thousand: `told` is called in the turn in which it is
   * known, and before the call returns for a step that is refused at once.
   */
  take(step: Step, told: Told): void

  /** What a device has sent. */
  sends(device: number): Promise<Sends>
  /** The same, if nothing has to be read for it. */
  peekSends(device: number): Sends | undefined
  /**
   * The record of one accepted send, as long as it is kept (`limits.acceptedMs` of the protocol), or undefined. Only
   * durable ones: if the send is under way, the answer waits for its outcome.
   */
  findSent(device: number, number: number): Promise<SentRecord | undefined>
  /** How far a device has acknowledged; 0 before the first time. */
  acknowledged(device: number): Promise<number>

  /** A place in a box behind position `after`. Sees durable messages only. */
  reader(box: number, after: number): BoxReader
  countOf(box: number): number
  bytesOf(box: number): number
  /** The newest position in a box; 0 if it is empty. */
  newestOf(box: number): number
  /** Reads messages back, in the order asked for. */
  read(waiting: readonly Waiting[]): Promise<readonly (StoredMessage | undefined)[]>
  /** The boxes that hold something, with the position of the oldest in each. */
  occupiedBoxes(): Iterable<{ readonly box: number; readonly oldest: number }>
  /**
   * The highest position accepted before a time, among what is stored; 0 if there is none. For retention; it trusts
   * that the clock went forward.
   */
  positionBefore(at: number): Promise<number>
}

export const archiveLimits = {
  /** Version 3 boxes are numbered from here on: the numbers below are version 2 clients. */
  firstBox: 2 ** 21,
  /** One message's content. */
  messageBytesMax: 4 * 2 ** 20 + 65_536,
  /** One step, everything in it. */
  stepBytesMax: 7 * 2 ** 20,
  recentSends: 256,
} as const

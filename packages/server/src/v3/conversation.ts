import { bool, decode, encode, type Infer, list, struct, u32, u64 } from '@messageu/protocol'
import { ConversationId, ConversationKind, DeviceId, Hash, limits } from '@messageu/protocol/v3'
import type { Archive } from '../archive.ts'
import { boxOf } from './boxes.ts'
import type { WelcomeTree } from './welcometrees.ts'

/** Sequence or position of an end that has not come, or is not known yet. */
export const open = Number.MAX_SAFE_INTEGER

/** Intervals of devices that are no longer on the roster: the oldest go first, with what they have not read. */
export const formerIntervalsMax = 1000

/** A device on the roster. */
const Member = struct({ device: DeviceId, number: u64, account: u64 })
export type Member = Infer<typeof Member>

/**
 * What one device may read: everything of these sequences, both included. It lies behind position `after`; once the end
 * is durable, nothing of it lies behind `until`.
 */
const Interval = struct({ device: u64, account: u64, from: u64, through: u64, after: u64, until: u64 })
export type Interval = Omit<Infer<typeof Interval>, 'until'> & { until: number }

/** What is kept of a conversation, and changes by commits and the like; devices and accounts are numbers. */
const stateFields = {
  kind: ConversationKind,
  /** The account whose quota it counts in, and the device that opened it. */
  creator: u64,
  opener: u64,
  generation: u32,
  epoch: u64,
  /** The epoch after the last commit that took a device off. Protocol 3 §6.6. */
  floor: u64,
  /** Where the commit that led to this epoch stands; 0 before the first of a generation. */
  committed: u64,
  treeHash: Hash,
  /** Of GroupInfo and tree. */
  handshakeBytes: u64,
  roster: list(Member, { max: limits.devicesPerConversationMax }),
  intervals: list(Interval, { max: limits.devicesPerConversationMax + formerIntervalsMax }),
  /** The accounts that it is for, however many of their devices are on the roster; none of a group. */
  pair: list(u64, { max: 2 }),
  /** Accounts that left: their devices stay on the roster until a commit takes them off. */
  left: list(u64, { max: limits.devicesPerConversationMax }),
  /** Accounts that belong here and have no device on the roster yet. */
  expected: list(u64, { max: limits.devicesPerConversationMax }),
  /** Up to this sequence, and below this position, messages went because of their age. */
  expiredThrough: u64,
  expiredBelow: u64,
  isClosed: bool,
}

const Kept = struct({ ...stateFields, id: ConversationId, number: u64, sequence: u64 })
const State = struct(stateFields)

export interface ConversationState extends Omit<Infer<typeof State>, 'intervals'> {
  readonly intervals: readonly Interval[]
  /** Devices that get what comes now: on the roster, and not left. */
  readonly audience: ReadonlySet<number>
  /** The trees that Welcomes still need, stored apart; undefined until somebody has asked. */
  welcomeTrees: readonly WelcomeTree[] | undefined
}

export interface Boxes {
  readonly application: number
  readonly handshake: number
}

/** A box, and whose it is; undefined for a device's own. */
export interface Place {
  readonly box: number
  readonly conversation: ConversationId | undefined
}

/** A conversation in memory: one object while anybody holds it. What is under way is in it already. */
export interface Conversation {
  readonly id: ConversationId
  /** The id as a key of maps. */
  readonly key: string
  readonly number: number
  readonly boxes: Boxes
  /** Where its application messages lie. */
  readonly applications: Place
  state: ConversationState
  /** The state that is on disk; undefined before the first. */
  durable: ConversationState | undefined
  /** The newest given, by `state`. */
  sequence: number
  durableSequence: number
  /** Steps that are not durable yet. */
  underWay: number
  /** How often steps failed: whoever built on one that failed finds that it was undone. */
  failures: number
  /** Resolves when the newest change of the state is durable, or undone. */
  settled: Promise<void>
}

export function keyOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1')
}

export function newConversation(
  id: ConversationId,
  number: number,
  state: ConversationState,
  { durable, sequence }: { durable: ConversationState | undefined; sequence: number },
): Conversation {
  const boxes = { application: boxOf('application', number), handshake: boxOf('handshake', number) }
  const settled = Promise.resolve()
  return {
    id,
    key: keyOf(id),
    number,
    boxes,
    applications: { box: boxes.application, conversation: id },
    state,
    durable,
    sequence,
    durableSequence: sequence,
    underWay: 0,
    failures: 0,
    settled,
  }
}

/** The state with what follows from its other fields. */
export function withAudience(fields: Omit<ConversationState, 'audience'>): ConversationState {
  const audience = new Set(fields.intervals.filter(({ through }) => through === open).map(({ device }) => device))
  return { ...fields, audience }
}

/** How a conversation begins: with one device. */
export function firstState(
  opener: Member,
  { kind, pair = [] }: { kind: ConversationKind; pair?: readonly number[] },
): ConversationState {
  return withAudience({
    kind,
    creator: opener.account,
    opener: opener.number,
    generation: 1,
    epoch: 0,
    floor: 0,
    committed: 0,
    treeHash: new Uint8Array(Hash.max) as Hash, // as many bytes as a hash has
    handshakeBytes: 0,
    roster: [opener],
    intervals: [{ device: opener.number, account: opener.account, from: 1, through: open, after: 0, until: open }],
    pair,
    left: [],
    expected: [],
    expiredThrough: 0,
    expiredBelow: 0,
    isClosed: false,
    welcomeTrees: [],
  })
}

export function encodeConversation(
  { id, number }: Pick<Conversation, 'id' | 'number'>,
  state: ConversationState,
  sequence: number,
): Uint8Array {
  return encode(Kept, { ...state, id, number, sequence })
}

export function decodeConversation(bytes: Uint8Array): {
  id: ConversationId
  number: number
  sequence: number
  state: ConversationState
} {
  const { id, number, sequence, ...fields } = decode(Kept, bytes)
  return { id, number, sequence, state: withAudience({ ...fields, welcomeTrees: undefined }) }
}

/** Whether a device may read what stands at a sequence. */
export function mayRead({ intervals }: ConversationState, device: number, sequence: number): boolean {
  return intervals.some((each) => each.device === device && each.from <= sequence && sequence <= each.through)
}

/** Whether an account takes part: with devices on the roster, or awaited; and it has not left. */
export function belongs(state: ConversationState, account: number): boolean {
  const { isClosed, left, roster, expected, pair } = state
  if (isClosed || left.includes(account)) return false
  return pair.includes(account) || expected.includes(account) || roster.some((member) => member.account === account)
}

/** Whether an account has a device on the roster and has not left. */
export function isOnRoster({ left, roster }: ConversationState, account: number): boolean {
  return !left.includes(account) && roster.some((member) => member.account === account)
}

/** Where the oldest stands of what waits in a conversation; `open` if nothing does. */
export function oldestIn(archive: Pick<Archive, 'reader'>, { application, handshake }: Boxes): number {
  const oldest = (box: number): number => archive.reader(box, 0).peek()?.position ?? open
  return Math.min(oldest(application), oldest(handshake))
}

/**
 * Throws what `judge` throws, or returns what to wait for before asking it again: a refusal for something that is still
 * under way may turn out to have no reason.
 */
export function refusedFor({ state, durable, settled }: Conversation, judge: () => void): Promise<void> | undefined {
  try {
    judge()
    return undefined
  } catch (error) {
    if (state === durable) throw error
    return settled
  }
}

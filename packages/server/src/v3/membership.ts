import { type Commit, type Current, type DeviceId, limits, RefusedError } from '@messageu/protocol/v3'
import {
  belongs,
  type ConversationState,
  formerIntervalsMax,
  type Interval,
  isOnRoster,
  keyOf,
  type Member,
  open,
  withAudience,
} from './conversation.ts'
import type { Device, RequestOf } from './services.ts'

/** Devices by their ids, as far as they were ever listed. */
export type KnownDevices = ReadonlyMap<string, Device>

/** What a commit does to the roster. */
export interface RosterChange {
  readonly roster: readonly Member[]
  readonly added: readonly Device[]
  readonly removed: readonly Member[]
}

/** Where something stands, and what had been there before it. */
interface Place {
  readonly sequence: number
  /** The highest position of the server now. */
  readonly position: number
  /** Whether nothing is left to read of an interval that has ended. */
  readonly isRead: (interval: Interval) => boolean
}

/** Throws what a device is refused that may not send here now. Protocol 3 §6.6. */
export function maySend(
  state: ConversationState,
  device: Device,
  { generation, epoch }: { generation: number; epoch: number },
): void {
  mustTakePart(state, device)
  mustBeGeneration(state, generation)
  if (!state.audience.has(device.number)) throw notPermitted('the device is not on the roster')
  if (epoch > state.epoch || epoch < Math.max(state.epoch - limits.epochsBehindMax, state.floor))
    throw staleEpoch(state, `epoch ${epoch} is not one that may be sent in`)
}

/** Throws what a device is refused that may not commit here now. Protocol 3 §6.4. */
export function mayCommit(
  state: ConversationState,
  device: Device,
  { generation, epoch }: Pick<Commit, 'generation' | 'epoch'>,
): void {
  mustTakePart(state, device)
  mustBeGeneration(state, generation)
  // a device that is not on the roster comes in by an external commit, if its account is there
  if (!isOnRoster(state, device.account.number)) throw notPermitted('the account has no device on the roster')
  if (epoch !== state.epoch) throw staleEpoch(state, `the epoch is ${state.epoch}`)
}

/** Throws what an account is refused that may not leave. Protocol 3 §6.9. */
export function mayLeave(state: ConversationState, { account }: Device): void {
  if (!belongs(state, account.number)) throw notPermitted('no such conversation')
  if (state.kind === 'own-devices') throw notPermitted('the conversation of own devices stays')
}

/** Throws what a device is refused that may not say that it cannot follow. Protocol 3 §6.9. */
export function mayReport(state: ConversationState, device: Device, { generation }: { generation: number }): void {
  mustTakePart(state, device)
  mustBeGeneration(state, generation)
  if (!state.audience.has(device.number)) throw notPermitted('the device is not on the roster')
}

/**
 * What the declared roster makes of the one before. The server does not read commits: what it lets through is judged
 * again by every member, against the roster that is signed inside. Protocol 3 §6.4.
 */
export function rosterChange(
  state: ConversationState,
  device: Device,
  roster: readonly DeviceId[],
  known: KnownDevices,
): RosterChange {
  const before = new Map(state.roster.map((member) => [keyOf(member.device), member]))
  const ids = new Set(roster.map(keyOf))
  if (ids.size < roster.length) throw notPermitted('a device stands on the roster twice')
  if (!ids.has(keyOf(device.id))) throw notPermitted('whoever commits is on the roster after it')
  const added = [...ids].filter((id) => !before.has(id)).map((id) => deviceFrom(known, id))
  const removed = state.roster.filter(({ device: id }) => !ids.has(keyOf(id)))
  if (state.roster.some(({ number }) => number === device.number)) mustOnlyAddOrRemove(added, removed)
  else mustOnlyReplace(device, added, removed)
  for (const each of added) mustBeAddable(state, each)
  return {
    roster: [...ids].map((id) => before.get(id) ?? memberFrom(deviceFrom(known, id))),
    added,
    removed,
  }
}

/** The accounts that a commit brings in. */
export function accountsAdded(state: ConversationState, { added }: RosterChange): Device['account'][] {
  const accounts = new Set(added.map(({ account }) => account))
  return [...accounts].filter(({ number }) => !state.roster.some(({ account }) => account === number))
}

/** The state after a commit that was let through. */
export function afterCommit(
  state: ConversationState,
  { roster, added, removed }: RosterChange,
  { treeHash, welcomeTrees, handshakeBytes }: Pick<ConversationState, 'treeHash' | 'welcomeTrees' | 'handshakeBytes'>,
  { sequence, position, isRead }: Place,
): ConversationState {
  const gone = new Set(removed.map(({ number }) => number))
  const accounts = new Set(roster.map(({ account }) => account))
  const epoch = state.epoch + 1
  return withAudience({
    ...state,
    epoch,
    floor: removed.length > 0 ? epoch : state.floor,
    committed: sequence,
    treeHash,
    welcomeTrees,
    handshakeBytes,
    roster,
    intervals: [
      ...kept(
        ended(state.intervals, ({ device }) => gone.has(device), sequence),
        isRead,
      ),
      ...added.map(({ number, account }) => interval({ number, account: account.number }, sequence, position)),
    ],
    left: state.left.filter(
      (left) =>
        (accounts.has(left) || state.pair.includes(left)) && !added.some(({ account }) => account.number === left),
    ),
    expected: [],
  })
}

/**
 * The state of the next generation, which begins with the device that asks for it. It keeps all accounts but one at
 * most, and those that have no devices any more (`lost`). Protocol 3 §6.8.
 */
export function afterRecreation(
  state: ConversationState,
  device: Device,
  { generation, roster }: RequestOf<'recreate'>,
  { known, lost }: { known: KnownDevices; lost: ReadonlySet<number> },
  { sequence, position, isRead }: Place,
): ConversationState {
  const { account } = device
  if (!belongs(state, account.number)) throw notPermitted('no such conversation')
  if (generation !== state.generation + 1) throw staleGeneration(state)
  const before = accountsOf(state)
  const devices = new Map(roster.map((id) => [keyOf(id), deviceFrom(known, keyOf(id))]))
  if (devices.size < roster.length) throw notPermitted('a device stands on the roster twice')
  if (!devices.has(keyOf(device.id))) throw notPermitted('whoever creates a conversation anew is in it')
  const after = new Set<number>()
  for (const each of devices.values()) {
    mustBeListed(each)
    after.add(each.account.number)
  }
  for (const account of state.left) after.delete(account)
  if (!after.isSubsetOf(before)) throw notPermitted('nobody comes in by creating a conversation anew')
  const behindMax = state.kind === 'group' ? 1 : 0
  if (before.difference(after).difference(lost).size > behindMax)
    throw notPermitted('an account stays behind that has to be kept')
  after.delete(account.number)
  const { number } = device
  const stays = state.audience.has(number)
  return withAudience({
    ...state,
    generation,
    epoch: 0,
    floor: 0,
    committed: 0,
    treeHash: new Uint8Array(state.treeHash.length) as typeof state.treeHash, // as many zeros
    handshakeBytes: 0,
    welcomeTrees: [],
    roster: [memberFrom(device)],
    intervals: [
      ...kept(
        ended(state.intervals, ({ device }) => device !== number, sequence),
        isRead,
      ),
      ...(stays ? [] : [interval({ number, account: account.number }, sequence + 1, position)]),
    ],
    left: state.left.filter((left) => state.pair.includes(left)),
    expected: [...after],
  })
}

/** The state after an account went: nothing comes to its devices from now on, and nothing from them. Protocol 3 §6.9. */
export function afterLeaving(
  state: ConversationState,
  account: number,
  { sequence, isRead }: Omit<Place, 'position'>,
): ConversationState {
  const left = [...state.left, account]
  const expected = state.expected.filter((each) => each !== account)
  const intervals = kept(
    ended(state.intervals, (each) => each.account === account, sequence),
    isRead,
  )
  const next = withAudience({ ...state, left, expected, intervals })
  if (next.audience.size > 0) return next
  const unread = intervals.filter((each) => !left.includes(each.account))
  return withAudience({ ...next, ...nobody, intervals: unread, isClosed: true })
}

/** Of a conversation that has closed, once everybody has read what waited. */
export function afterReading(state: ConversationState): ConversationState {
  return withAudience({ ...state, intervals: [] })
}

/** The state once an account takes part again that had left: its devices that are on the roster hear from here on. */
export function afterReturning(
  state: ConversationState,
  account: number,
  { sequence, position, isRead }: Place,
): ConversationState {
  const back = state.roster.filter((member) => member.account === account)
  return withAudience({
    ...state,
    left: state.left.filter((each) => each !== account),
    intervals: [...kept(state.intervals, isRead), ...back.map((member) => interval(member, sequence + 1, position))],
  })
}

/** Of a conversation that has closed, its id has to stay, and what waits for those who were taken out before. */
const nobody = { roster: [], expected: [], pair: [], handshakeBytes: 0, welcomeTrees: [] }

/** Accounts that take part, by number. */
export function accountsOf(state: ConversationState): Set<number> {
  const all = new Set([...state.roster.map(({ account }) => account), ...state.expected, ...state.pair])
  for (const account of state.left) all.delete(account)
  return all
}

export function memberFrom({ id, number, account }: Device): Member {
  return { device: id, number, account: account.number }
}

export function notPermitted(what: string): RefusedError {
  return new RefusedError('not-permitted', what)
}

export function idInUse(): RefusedError {
  return new RefusedError('conversation-exists', 'the id is in use')
}

function mustTakePart(state: ConversationState, { account, isListed, number }: Device): void {
  if (!isListed || account.isDisabled) throw notPermitted('the device is not on its list any more')
  const isHeard = state.audience.has(number) // then its account belongs to it
  if (!isHeard && !belongs(state, account.number)) throw notPermitted('no such conversation')
}

function mustBeGeneration(state: ConversationState, generation: number): void {
  if (generation !== state.generation) throw staleGeneration(state)
}

function mustOnlyAddOrRemove(added: readonly Device[], removed: readonly Member[]): void {
  if (added.length > 0 && removed.length > 0) throw notPermitted('a commit adds or removes, and does not do both')
  if (added.length > limits.welcomesPerCommitMax)
    throw new RefusedError('too-large', `a commit adds at most ${limits.welcomesPerCommitMax} devices`)
}

/** An external commit brings its own device, in the place of one of the same account at most. */
function mustOnlyReplace(device: Device, added: readonly Device[], removed: readonly Member[]): void {
  if (added.length !== 1) throw notPermitted('an external commit adds the device that makes it')
  if (removed.length > 1 || removed.some(({ account }) => account !== device.account.number))
    throw notPermitted('an external commit removes at most one device of its own account')
}

function mustBeAddable({ kind, pair }: ConversationState, device: Device): void {
  mustBeListed(device)
  if (kind !== 'group' && !pair.includes(device.account.number))
    throw notPermitted('a device is added of an account that is not part of this conversation')
}

function mustBeListed({ account, isListed }: Device): void {
  if (!isListed || account.isDisabled) throw notPermitted('a device is on the roster that is not on its list')
}

function deviceFrom(known: KnownDevices, id: string): Device {
  const device = known.get(id)
  if (device === undefined) throw notPermitted('no such device')
  return device
}

function interval({ number, account }: { number: number; account: number }, from: number, after: number): Interval {
  return { device: number, account, from, through: open, after, until: open }
}

/** Ends intervals at a sequence. Where that stands is known when it is durable. */
function ended(intervals: readonly Interval[], which: (interval: Interval) => boolean, through: number): Interval[] {
  return intervals.map((each) => (each.through === open && which(each) ? { ...each, through } : each))
}

/** Without the intervals that have ended and were read, or are too many. */
function kept(intervals: readonly Interval[], isRead: (interval: Interval) => boolean): Interval[] {
  const left = intervals.filter((each) => each.through === open || !isRead(each))
  let tooMany = left.filter(({ through }) => through !== open).length - formerIntervalsMax
  return left.filter(({ through }) => through === open || tooMany-- <= 0)
}

function staleEpoch(state: ConversationState, what: string): RefusedError {
  return new RefusedError('stale-epoch', what, { current: currentOf(state) })
}

function staleGeneration(state: ConversationState): RefusedError {
  const { generation } = state
  return new RefusedError('stale-generation', `the generation is ${generation}`, { current: currentOf(state) })
}

function currentOf({ generation, epoch, committed }: ConversationState): Current {
  return { kind: 'epoch', body: { generation, epoch, sequence: committed } }
}

import { decode, encode } from '@messageu/protocol'
import type { DeliveredCommit, DeviceId } from '@messageu/protocol/v3'
import { acceptAll, type ClientState, emptyPskIndex, type LeafNode, processPublicMessage } from 'ts-mls'
import { encodeLeafNodeData } from 'ts-mls/leafNode.js'
import { unprotectPublicMessage } from 'ts-mls/messageProtectionPublic.js'
import { sameBytes } from '../bytes.ts'
import { Advance, advanced } from './advance.ts'
import { cryptoOf } from './algorithms.ts'
import { advanceTo, engineConfig, engineState, situationOf } from './epochs.ts'
import { ConversationError, type ConversationReason, mustHold, refusing } from './errors.ts'
import { mustBeCapable, readRules } from './extensions.ts'
import { atLeaf, changeOf, type ReadCommit, readCommit, sameGroup } from './handshakes.ts'
import { type Change, type Judgement, judge, membersAfter, type Situation } from './judge.ts'
import { leavesOf } from './leaves.ts'
import { type KnownLists, missingFrom, type NeedsLists } from './lists.ts'
import { type Member, memberOf, type Person, personOf, rosterOf, sameRoster } from './members.ts'
import { standingsHash } from './publicstate.ts'
import { type CommitNote, ConversationRules, hashOf } from './shared.ts'
import { type ConversationState, type Group, readGroup } from './state.ts'
import type { Suite } from './suites.ts'
import { isAmong } from './survey.ts'
import { mustBeNew, mustHaveDistinctKeys } from './tree.ts'

/** What a commit did once it had its place in the sequence. */
export type Applied =
  | {
      readonly kind: 'applied'
      readonly state: ConversationState
      readonly by: Person
      readonly change: Change['kind']
      readonly arrived: readonly Person[]
      readonly left: readonly Person[]
    }
  /** This device has been taken out: nothing more can be opened, and the state goes. */
  | { readonly kind: 'removed'; readonly by: Person }
  | NeedsLists
  /** It was applied before, or was there before this device came. */
  | { readonly kind: 'passed' }
  /** Commits before it are missing. */
  | { readonly kind: 'early'; readonly epoch: number }
  /** Another commit was applied here in its place: the members have been given different ones. An alarm. §6.10 */
  | { readonly kind: 'fork'; readonly epoch: number }
  /** It was accepted and cannot be applied: report `stuck`, and rejoin or re-create. The state stays. §6.9 */
  | {
      readonly kind: 'stuck'
      readonly epoch: number
      readonly reason: ConversationReason
      readonly explanation: string
      /** Whoever signed it, if a member did: a re-creation may leave this account out. */
      readonly by: Person | undefined
    }

/** A commit as the server delivers it. */
export type Arrived = Pick<DeliveredCommit, 'sender' | 'id' | 'commit' | 'roster'>

/** Takes a commit at its place in the sequence, one's own too. Of another one, `pending` is simply not used. §6.4 */
export async function applyCommit(
  state: ConversationState,
  arrived: Arrived,
  { lists, pending }: { readonly lists: KnownLists; readonly pending?: Uint8Array | undefined },
): Promise<Applied> {
  const group = readGroup(state)
  const situation = situationOf(state, group)
  const { epoch } = situation
  let by: Member | undefined
  try {
    const commit = await refusing('malformed', 'the commit cannot be read', () => readCommit(arrived.commit))
    mustHold(sameGroup(commit.note.group, situation.id), 'misdirected', 'the commit is of another conversation')
    if (commit.epoch < epoch)
      return passed(group, { behind: epoch - commit.epoch, bytes: arrived.commit }, commit.epoch)
    if (commit.epoch > epoch) return { kind: 'early', epoch: commit.epoch }

    const before = engineState(group, engineConfig(nobody), undefined)
    await mustBeSigned(commit, before, state.suite)
    by = commit.leaf === undefined ? undefined : atLeaf(situation.members, commit.leaf)
    return await followed(state, { commit, arrived, by, pending }, { group, situation, before }, lists)
  } catch (error) {
    if (!(error instanceof ConversationError)) throw error
    return { kind: 'stuck', epoch, reason: error.reason, explanation: error.message, by: by && personOf(by) }
  }
}

/** A commit of the present epoch that is what it says: judged first, then done by the engine. */
async function followed(
  state: ConversationState,
  { commit, arrived, by, pending }: Signed,
  { group, situation, before }: { group: Group; situation: Situation; before: ClientState },
  lists: KnownLists,
): Promise<Applied> {
  const change = await refusing('malformed', 'the change cannot be read', () => changeOf(commit, situation.members))
  const author = authorOf(change, by)
  mustBeAsDelivered(commit.note, arrived, author)
  const own = ownAdvance(pending, arrived)
  if (own !== undefined) return taken(state, own, { situation, change, author })
  const self = ownDevice(group, situation)
  mustHold(!sameBytes(author.device, self), 'superseded', 'a commit of this device that this state did not make')

  const missing = missingFrom(lists, commit.note.lists)
  if (missing.length > 0) return { kind: 'needs', lists: missing }
  const judgement = await judge(situation, { change, by: author.account, note: commit.note }, lists)
  const leadsThere = sameBytes(standingsHash(judgement.standings), commit.note.standings)
  mustHold(leadsThere, 'list', 'the commit signs other lists than it leads to')
  if (change.kind === 'remove' && memberOf(change.leaving, self) !== undefined) return { kind: 'removed', by: author }
  const advance = await process(before, { commit, judgement, group, suite: state.suite, arrived })
  return taken(state, advance, { situation, change, author })
}

interface Signed {
  readonly commit: ReadCommit
  readonly arrived: Arrived
  /** The member that signed it; nobody yet, if a device joins by it. */
  readonly by: Member | undefined
  readonly pending: Uint8Array | undefined
}

/** Throws `misdirected` or `roster` unless the envelope says what the commit signs. §6.4 */
export function mustBeAsDelivered(note: CommitNote, { sender, id, roster }: Arrived, author: Person): void {
  mustHold(sameBytes(sender, author.device), 'misdirected', 'the server names another sender')
  mustHold(sameBytes(id, note.id), 'misdirected', 'the server names another send')
  mustHold(sameRoster(roster, note.roster), 'roster', 'the delivered roster is not the signed one')
}

/** What was staged, if the commit that has its place now is that one. */
export function ownAdvance(pending: Uint8Array | undefined, { commit }: Arrived): Advance | undefined {
  const advance = pending && decode(Advance, pending)
  return advance !== undefined && sameBytes(advance.commit, hashOf(commit)) ? advance : undefined
}

function passed({ applied }: Group, { behind, bytes }: { behind: number; bytes: Uint8Array }, epoch: number): Applied {
  const then = applied[behind - 1]
  return then === undefined || sameBytes(then, hashOf(bytes)) ? { kind: 'passed' } : { kind: 'fork', epoch }
}

/** From here on it is certain who made the commit, if a member did. */
async function mustBeSigned({ message }: ReadCommit, before: ClientState, suite: Suite): Promise<void> {
  const { keySchedule, groupContext, ratchetTree } = before
  const crypto = await cryptoOf(suite)
  await refusing('unverifiable', 'the commit is not signed by a member', () =>
    unprotectPublicMessage(keySchedule.membershipKey, groupContext, ratchetTree, message, crypto),
  )
}

function authorOf(change: Change, by: Member | undefined): Person {
  if (change.kind === 'rejoin')
    return { account: change.joining.identity.list.account, device: change.joining.identity.device }
  mustHold(by !== undefined, 'forbidden', 'the leaf that commits is blank')
  return personOf(by)
}

function ownDevice({ own }: Group, { members }: Situation): DeviceId {
  const self = atLeaf(members, own)
  if (self === undefined) throw new Error('the state is damaged: no own leaf')
  return self.device
}

/** The engine's part: paths, keys, confirmation. And what it makes of the tree has to be what was judged. */
async function process(
  before: ClientState,
  {
    commit,
    judgement,
    group,
    suite,
    arrived,
  }: {
    commit: ReadCommit
    judgement: Judgement
    group: Group
    suite: Suite
    arrived: Arrived
  },
): Promise<Advance> {
  mustBringNewKeys(commit, before)
  const crypto = await cryptoOf(suite)
  const admitting = { ...before, clientConfig: engineConfig(isAmong([...judgement.staying, ...judgement.arriving])) }
  const { newState } = await refusing('unverifiable', 'the commit cannot be followed', () =>
    processPublicMessage(admitting, commit.message, emptyPskIndex, crypto, acceptAll),
  )
  mustHold(newState.groupActiveState.kind === 'active', 'forbidden', 'the commit ends the conversation')
  mustHaveDistinctKeys(newState.ratchetTree)
  const members = membersAfter(judgement, leavesOf(newState.ratchetTree))
  mustHold(sameInOrder(rosterOf(members), commit.note.roster), 'roster', 'the commit leads to another roster')
  const rules = encode(ConversationRules, readRules(newState.groupContext))
  mustHold(sameBytes(rules, encode(ConversationRules, judgement.rules)), 'forbidden', 'the commit leads to other rules')
  return advanceTo(newState, { members, standings: judgement.standings }, { commit: hashOf(arrived.commit), group })
}

/** The engine compares the keys of a path with those of parents only, and takes any leaf that is signed. */
function mustBringNewKeys({ path, leaf }: ReadCommit, { ratchetTree }: ClientState): void {
  if (path === undefined) return
  const keys = [path.leafNode, ...path.nodes].map(({ hpkePublicKey }) => hpkePublicKey)
  mustBeNew(keys, ratchetTree)
  if (leaf === undefined) return
  const before = ratchetTree[2 * leaf]
  mustHold(before?.nodeType === 'leaf', 'forbidden', 'the leaf that commits is blank')
  mustBeCapable(path.leafNode)
  mustHold(
    sameBytes(apartFromKey(before.leaf), apartFromKey(path.leafNode)),
    'keys',
    'the leaf that commits changes more than its key',
  )
}

function apartFromKey(leaf: LeafNode): Uint8Array {
  return encodeLeafNodeData({ ...leaf, hpkePublicKey: new Uint8Array() })
}

function taken(
  state: ConversationState,
  advance: Advance,
  { situation, change, author }: { situation: Situation; change: Change; author: Person },
): Applied {
  const next = advanced(state, advance)
  const before = situation.members
  const after = situationOf(next, readGroup(next)).members
  return {
    kind: 'applied',
    state: next,
    by: author,
    change: change.kind,
    arrived: after.filter(({ device }) => memberOf(before, device) === undefined).map(personOf),
    left: before.filter(({ device }) => memberOf(after, device) === undefined).map(personOf),
  }
}

function sameInOrder(one: readonly DeviceId[], other: readonly DeviceId[]): boolean {
  return one.length === other.length && one.every((device, i) => sameBytes(device, other[i] ?? nobodyDevice))
}

const nobodyDevice = new Uint8Array()
const nobody = () => false

import { encode } from '@messageu/protocol'
import type { DeviceId } from '@messageu/protocol/v3'
import { encodeMlsMessage, joinGroupExternal } from 'ts-mls'
import { addLeafNode, removeLeafNode } from 'ts-mls/ratchetTree.js'
import { toLeafIndex } from 'ts-mls/treemath.js'
import { sameBytes } from '../bytes.ts'
import type { VerifiedList } from '../verifiedlist.ts'
import { Advance, begun } from './advance.ts'
import { cryptoOf } from './algorithms.ts'
import { type Arrived, mustBeAsDelivered, ownAdvance } from './apply.ts'
import { beginEpoch, engineConfig } from './epochs.ts'
import { ConversationError, mustHold, refusing } from './errors.ts'
import { freshPackage } from './freshpackages.ts'
import { readCommit, readGroupInfo } from './handshakes.ts'
import { type Refused, refusedBy } from './join.ts'
import { judge, membersAfter } from './judge.ts'
import type { LocalDevice } from './keypackages.ts'
import { claimOf, leavesOf } from './leaves.ts'
import { type KnownLists, type NeedsLists, refOf } from './lists.ts'
import { type Member, memberOf, type Person, personOf, rosterOf } from './members.ts'
import { publicState, standingsHash } from './publicstate.ts'
import { CommitNote, type GroupId, hashOf } from './shared.ts'
import type { Sending, Staged } from './stage.ts'
import type { ConversationState } from './state.ts'
import { isAmong, survey } from './survey.ts'

/** The newest public state of a conversation, as the server shows it to a device that has no place in it. §6.7 */
export interface ShownConversation extends GroupId {
  readonly groupInfo: Uint8Array
  readonly tree: Uint8Array
}

export interface RejoinOptions extends Sending {
  /** The device's own list, the newest that it knows. */
  readonly list: VerifiedList
  readonly lists: KnownLists
  /** The newest epoch of this generation that the store or a sibling knows: no older GroupInfo is taken. */
  readonly newestEpoch: number
  /** A leaf of the own account to take the place of: a device that the list has no more. One's own old leaf goes anyway. */
  readonly replaces?: DeviceId
}

export type StagedRejoin =
  | (Staged & {
      readonly kind: 'staged'
      /** Whom the device will be with: to be shown as an event. §6.10 */
      readonly members: readonly Person[]
    })
  | NeedsLists
  | Refused

/** A commit by which this device takes its place again, or a listed device its first. §6.10 */
export async function stageRejoin(
  self: LocalDevice,
  shown: ShownConversation,
  options: RejoinOptions,
): Promise<StagedRejoin> {
  try {
    return await staged(self, shown, options)
  } catch (error) {
    return refusedBy(error)
  }
}

/** The conversation, once one's own rejoining commit has its place; nothing if it is not that commit. §6.10 */
export async function confirmRejoin(
  self: LocalDevice,
  arrived: Arrived,
  pending: Uint8Array,
): Promise<ConversationState | undefined> {
  const advance = ownAdvance(pending, arrived)
  if (advance === undefined) return undefined
  const { note } = await refusing('malformed', 'the own commit cannot be read', () => readCommit(arrived.commit))
  mustBeAsDelivered(note, arrived, self)
  return begun(advance)
}

async function staged(
  self: LocalDevice,
  shown: ShownConversation,
  { id, number, list, lists, newestEpoch, replaces }: RejoinOptions,
): Promise<StagedRejoin> {
  const groupInfo = await refusing('malformed', 'the GroupInfo cannot be read', () => readGroupInfo(shown.groupInfo))
  const found = await survey({ groupInfo, tree: shown.tree, expected: shown }, { isExternal: true, lists })
  if (found.kind === 'needs') return found
  mustHold(found.epoch >= newestEpoch, 'older', `epoch ${found.epoch} is shown, epoch ${newestEpoch} was there`)

  const lifetime = { notBefore: 0, notAfter: 0 } // of a leaf that nobody adds
  const { publicPackage, privatePackage } = await freshPackage(self, list, { suite: found.suite, lifetime })
  const replaced = replacedBy(self, found.members, replaces)
  mustHold(
    replaced === undefined || found.members.length > 1,
    'forbidden',
    'whoever replaces the only leaf joins nobody',
  )
  const change = { kind: 'rejoin', joining: claimOf(publicPackage.leafNode), replaced } as const
  const noted = { group: found.id, lists: [refOf(list)], departures: [] }
  const judgement = await judge(found, { change, by: self.account, note: noted }, () => list)

  const vacated = replaced === undefined ? found.tree : removeLeafNode(found.tree, toLeafIndex(replaced.leaf))
  const members = membersAfter(judgement, leavesOf(addLeafNode(vacated, publicPackage.leafNode)[0]))
  const note = { ...noted, id, number, roster: rosterOf(members), standings: standingsHash(judgement.standings) }
  const config = engineConfig(
    isAmong([...found.members, ...judgement.arriving]),
    (_, leaf) => replaced !== undefined && sameBytes(leaf.signaturePublicKey, replaced.signatureKey),
  )
  const crypto = await cryptoOf(found.suite)
  const { publicMessage, newState } = await refusing('unverifiable', 'the GroupInfo does not hold', () =>
    joinGroupExternal(
      groupInfo,
      publicPackage,
      privatePackage,
      replaced !== undefined,
      crypto,
      found.tree,
      config,
      encode(CommitNote, note),
    ),
  )
  const commit = encodeMlsMessage({ version: 'mls10', wireformat: 'mls_public_message', publicMessage })
  const advance: Advance = {
    commit: hashOf(commit),
    losesDevice: found.members.some(({ device }) => memberOf(members, device) === undefined),
    ...beginEpoch(newState, { members, standings: judgement.standings }),
  }
  return {
    kind: 'staged',
    pending: encode(Advance, advance),
    epoch: found.epoch,
    commit,
    roster: note.roster,
    welcomes: [],
    ...(await publicState(newState, judgement.standings, found.suite)),
    members: members.map(personOf),
  }
}

function replacedBy(self: LocalDevice, members: readonly Member[], replaces: DeviceId | undefined): Member | undefined {
  const own = memberOf(members, self.device)
  if (own !== undefined || replaces === undefined) return own
  const other = memberOf(members, replaces)
  if (other === undefined) throw new ConversationError('forbidden', 'the leaf to replace is not there')
  return other
}

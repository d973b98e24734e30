import { encode } from '@messageu/protocol'
import type { AccountId, DeviceId, SendId } from '@messageu/protocol/v3'
import { createCommit, emptyPskIndex, encodeMlsMessage, type Proposal, type RatchetTree, type Welcome } from 'ts-mls'
import { addLeafNode, removeLeafNode } from 'ts-mls/ratchetTree.js'
import { toLeafIndex } from 'ts-mls/treemath.js'
import { compareBytes, sameBytes } from '../bytes.ts'
import type { VerifiedList } from '../verifiedlist.ts'
import { Advance } from './advance.ts'
import { cryptoOf } from './algorithms.ts'
import { advanceTo, engineConfig, engineState, situationOf } from './epochs.ts'
import { ConversationError } from './errors.ts'
import { rulesExtension, standingsExtension } from './extensions.ts'
import { accountsTouchedBy, type Change, judge, membersAfter, type Situation } from './judge.ts'
import type { LocalDevice } from './keypackages.ts'
import { claimOf, leavesOf } from './leaves.ts'
import { refOf } from './lists.ts'
import { memberOf, rosterOf } from './members.ts'
import { judgeKeyPackage } from './offeredpackages.ts'
import { publicState, standingsHash } from './publicstate.ts'
import { inOrder } from './rules.ts'
import { CommitNote, type Departure, hashOf, type ListRef } from './shared.ts'
import { type ConversationState, readGroup } from './state.ts'
import { isAmong } from './survey.ts'

/** What a commit is to do. */
export type Wish =
  /** New keys for the own leaf: heals, and answers a member that is stuck. */
  | { readonly kind: 'update' }
  | { readonly kind: 'add'; readonly keyPackages: readonly Uint8Array[] }
  | { readonly kind: 'remove'; readonly devices: readonly DeviceId[]; readonly departures?: readonly Departure[] }
  | { readonly kind: 'owners'; readonly owners: readonly AccountId[] }

/** A send or a commit on its way. §6.5 */
export interface Sending {
  readonly id: SendId
  readonly number: number
}

/** A commit to submit. It takes effect when it comes back in the sequence, and not at all if another one does. §6.4 */
export interface Staged {
  /** For `applyCommit`; to be forgotten if another commit wins. The state stays in use meanwhile. */
  readonly pending: Uint8Array
  readonly epoch: number
  readonly commit: Uint8Array
  readonly roster: readonly DeviceId[]
  readonly welcomes: readonly { readonly devices: readonly DeviceId[]; readonly welcome: Uint8Array }[]
  readonly groupInfo: Uint8Array
  readonly tree: Uint8Array
}

/**
 * A commit that everybody will take. `lists` has the newest list of each account that it touches. Throws what the
 * others would refuse, and what is wrong with a key package. §6.4
 */
export async function stageCommit(
  state: ConversationState,
  self: LocalDevice,
  wish: Wish,
  { id, number, lists, now }: Sending & { readonly lists: readonly VerifiedList[]; readonly now: number },
): Promise<Staged> {
  const group = readGroup(state)
  const situation = situationOf(state, group)
  const { change, proposals } = await planned(wish, situation, { lists, now })
  const noted = {
    group: situation.id,
    lists: refsFor(change, lists),
    departures: wish.kind === 'remove' ? (wish.departures ?? []) : [],
  }
  const judgement = await judge(situation, { change, by: self.account, note: noted }, ({ account }) =>
    listOf(lists, account),
  )

  const cipherSuite = await cryptoOf(state.suite)
  const before = engineState(
    group,
    engineConfig(isAmong([...judgement.staying, ...judgement.arriving])),
    self.signatureSeed,
  )
  const members = membersAfter(judgement, leavesOf(treeAfter(before.ratchetTree, proposals)))
  const note = { ...noted, id, number, roster: rosterOf(members), standings: standingsHash(judgement.standings) }
  const { newState, commit, welcome } = await createCommit(
    { state: before, pskIndex: emptyPskIndex, cipherSuite },
    {
      wireAsPublicMessage: true,
      extraProposals: [...proposals],
      authenticatedData: encode(CommitNote, note),
      groupInfoExtensions: standingsExtension(judgement.standings),
    },
  )
  const bytes = encodeMlsMessage(commit)
  const advance = advanceTo(newState, { members, standings: judgement.standings }, { commit: hashOf(bytes), group })
  return {
    pending: encode(Advance, advance),
    epoch: situation.epoch,
    commit: bytes,
    roster: note.roster,
    welcomes: welcome === undefined ? [] : [addressed(welcome, rosterOf(judgement.arriving))],
    ...(await publicState(newState, judgement.standings, state.suite)),
  }
}

/** The wish as it is judged, and as the engine has it. */
async function planned(
  wish: Wish,
  { suite, rules, members }: Situation,
  { lists, now }: { lists: readonly VerifiedList[]; now: number },
): Promise<{ change: Change; proposals: readonly Proposal[] }> {
  const asked = wish.kind === 'add' ? wish.keyPackages : wish.kind === 'remove' ? wish.devices : [wish]
  if (asked.length === 0) throw new ConversationError('forbidden', `there is nothing to ${wish.kind}`)
  switch (wish.kind) {
    case 'update':
      return { change: { kind: 'update' }, proposals: [] }
    case 'add': {
      const packages = await Promise.all(
        wish.keyPackages.map((offered) => judgeKeyPackage(offered, { lists, suite, now })),
      )
      const joining = packages.map(({ leafNode }) => claimOf(leafNode))
      return {
        change: { kind: 'add', joining },
        proposals: packages.map((keyPackage) => ({ proposalType: 'add', add: { keyPackage } })),
      }
    }
    case 'remove': {
      const leaving = wish.devices.map((device) => {
        const member = memberOf(members, device)
        if (member === undefined) throw new ConversationError('forbidden', 'the device to remove is not here')
        return member
      })
      const proposals = leaving.map(({ leaf }) => ({ proposalType: 'remove', remove: { removed: leaf } }) as const)
      return { change: { kind: 'remove', leaving }, proposals }
    }
    case 'owners': {
      const after = { ...rules, owners: inOrder(wish.owners), invited: [] }
      const groupContextExtensions = { extensions: rulesExtension(after) }
      return {
        change: { kind: 'rules', rules: after },
        proposals: [{ proposalType: 'group_context_extensions', groupContextExtensions }],
      }
    }
  }
}

/** The tree as far as leaves go: where the engine will put those that come. */
function treeAfter(tree: RatchetTree, proposals: readonly Proposal[]): RatchetTree {
  return proposals.reduce((before, proposal) => {
    if (proposal.proposalType === 'remove') return removeLeafNode(before, toLeafIndex(proposal.remove.removed))
    return proposal.proposalType === 'add' ? addLeafNode(before, proposal.add.keyPackage.leafNode)[0] : before
  }, tree)
}

function refsFor(change: Change, lists: readonly VerifiedList[]): readonly ListRef[] {
  return accountsTouchedBy(change)
    .toSorted(compareBytes)
    .map((account) => {
      const list = listOf(lists, account)
      if (list === undefined) throw new ConversationError('list', 'the list of an account that is touched is missing')
      return refOf(list)
    })
}

function listOf(lists: readonly VerifiedList[], account: AccountId): VerifiedList | undefined {
  return lists.find((list) => sameBytes(list.account, account))
}

function addressed(welcome: Welcome, devices: readonly DeviceId[]): Staged['welcomes'][number] {
  return { devices, welcome: encodeMlsMessage({ version: 'mls10', wireformat: 'mls_welcome', welcome }) }
}

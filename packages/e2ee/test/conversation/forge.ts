import assert from 'node:assert/strict'
import { decode, encode } from '@messageu/protocol'
import {
  type Commit,
  createCommit,
  decodeMlsMessage,
  emptyPskIndex,
  encodeMlsMessage,
  generateKeyPackageWithKey,
  joinGroupExternal,
  type Proposal,
  type ProposalOrRef,
  type Sender,
} from 'ts-mls'
import { createContentCommitSignature } from 'ts-mls/framedContent.js'
import { protectPublicMessage } from 'ts-mls/messageProtectionPublic.js'
import { compareBytes, sameBytes } from '../../src/bytes.ts'
import { cryptoOf } from '../../src/conversation/algorithms.ts'
import { engineConfig, engineState, situationOf } from '../../src/conversation/epochs.ts'
import {
  capabilities,
  packageExtensions,
  readStandings,
  standingsExtension,
} from '../../src/conversation/extensions.ts'
import { freshPackage } from '../../src/conversation/freshpackages.ts'
import type { ConversationState, ListRef, LocalDevice, Suite } from '../../src/conversation/index.ts'
import { leavesOf } from '../../src/conversation/leaves.ts'
import { refOf } from '../../src/conversation/lists.ts'
import { publicState } from '../../src/conversation/publicstate.ts'
import { CommitNote, hashOf, LeafIdentity, Standings } from '../../src/conversation/shared.ts'
import { Epoch, Group, readGroup } from '../../src/conversation/state.ts'
import { readTree } from '../../src/conversation/tree.ts'
import { signingKey } from '../../src/signing.ts'
import type { VerifiedList } from '../../src/verifiedlist.ts'
import { newest, now, type Room, type Somebody, type TestDevice } from './world.ts'

export interface Forged {
  readonly commit: Uint8Array
  readonly roster: CommitNote['roster']
  readonly groupInfo: Uint8Array
  readonly tree: Uint8Array
  readonly welcome: Uint8Array | undefined
}

/**
 * A commit that a member makes with the engine alone, past every check of ours. The note is the one that would be right
 * for what the commit does, but for what `lie` changes in it.
 */
export async function forgeCommit(
  room: Room,
  by: TestDevice,
  {
    proposals = [],
    touching = [],
    lie = (note) => note,
    seed = by.self.signatureSeed,
  }: {
    proposals?: readonly Proposal[]
    touching?: readonly Somebody[]
    lie?: (note: CommitNote) => CommitNote
    seed?: TestDevice['self']['signatureSeed']
  },
): Promise<Forged> {
  const group = readGroup(room.state(by))
  const { id, epoch, standings } = situationOf(room.state(by), group)
  const cipherSuite = await cryptoOf(room.suite)
  const state = engineState(
    group,
    engineConfig(() => true),
    seed,
  )
  const context = { state, pskIndex: emptyPskIndex, cipherSuite }
  const trial = await createCommit(context, { wireAsPublicMessage: true, extraProposals: [...proposals] })
  const leaves = leavesOf(trial.newState.ratchetTree)
  const refs = touching
    .map((somebody) => refOf({ ...newest(somebody), account: somebody.account.id }))
    .toSorted((one, other) => compareBytes(one.account, other.account))
  const after = standingsAfter(standings, refs, epoch).filter(({ account }) =>
    leaves.some(({ identity }) => sameBytes(identity.list.account, account)),
  )
  const note = lie({
    group: id,
    ...room.world.sending(by),
    roster: leaves.map(({ identity }) => identity.device),
    lists: refs,
    departures: [],
    standings: hashOf(encode(Standings, after)),
  })
  const { commit, newState, welcome } = await createCommit(context, {
    wireAsPublicMessage: true,
    extraProposals: [...proposals],
    authenticatedData: encode(CommitNote, note),
    groupInfoExtensions: standingsExtension(after),
  })
  return {
    commit: encodeMlsMessage(commit),
    roster: note.roster,
    welcome: welcome && encodeMlsMessage({ version: 'mls10', wireformat: 'mls_welcome', welcome }),
    ...(await publicState(newState, after, room.suite)),
  }
}

/**
 * A commit of which the content was changed afterwards, signed and tagged as if it had been made so. Only what it
 * promises to lead to does not hold: nothing that the engine would have made.
 */
export async function tampered(
  room: Room,
  by: TestDevice,
  change: (commit: Commit, sender: Sender) => { commit: Commit; sender?: Sender },
): Promise<Forged> {
  const forged = await forgeCommit(room, by, {})
  const [message] = decodeMlsMessage(forged.commit, 0) ?? []
  assert.ok(message?.wireformat === 'mls_public_message')
  const { content, auth } = message.publicMessage
  assert.ok(content.contentType === 'commit' && auth.contentType === 'commit')
  const { keySchedule, groupContext } = engineState(
    readGroup(room.state(by)),
    engineConfig(() => true),
    undefined,
  )
  const crypto = await cryptoOf(room.suite)
  const { commit, sender = content.sender } = change(content.commit, content.sender)
  const { framedContent, signature } = await createContentCommitSignature(
    groupContext,
    'mls_public_message',
    commit,
    sender,
    content.authenticatedData,
    by.self.signatureSeed.reveal(),
    crypto.signature,
  )
  const publicMessage = await protectPublicMessage(
    keySchedule.membershipKey,
    groupContext,
    { wireformat: 'mls_public_message', content: framedContent, auth: { ...auth, signature } },
    crypto,
  )
  return {
    ...forged,
    commit: encodeMlsMessage({ version: 'mls10', wireformat: 'mls_public_message', publicMessage }),
  }
}

/** An external commit past every check of ours, in the place of the device's own leaf if it has one. */
export async function forgeRejoin(room: Room, by: TestDevice): Promise<Forged> {
  return (await externalCommit(room, by)).forged
}

/** An external commit of which the content was changed afterwards, and which is signed as if it had been made so. */
export async function tamperedRejoin(
  room: Room,
  by: TestDevice,
  change: (commit: Commit, add: ProposalOrRef) => Commit,
): Promise<Forged> {
  const { forged, groupContext, keyPackage } = await externalCommit(room, by)
  const [message] = decodeMlsMessage(forged.commit, 0) ?? []
  assert.ok(message?.wireformat === 'mls_public_message')
  const { content, auth } = message.publicMessage
  assert.ok(content.contentType === 'commit' && auth.contentType === 'commit')
  const add: ProposalOrRef = { proposalOrRefType: 'proposal', proposal: { proposalType: 'add', add: { keyPackage } } }
  const { framedContent, signature } = await createContentCommitSignature(
    groupContext,
    'mls_public_message',
    change(content.commit, add),
    content.sender,
    content.authenticatedData,
    by.self.signatureSeed.reveal(),
    (await cryptoOf(room.suite)).signature,
  )
  const publicMessage = { ...message.publicMessage, content: framedContent, auth: { ...auth, signature } }
  return { ...forged, commit: encodeMlsMessage({ ...message, publicMessage }) }
}

async function externalCommit(room: Room, by: TestDevice) {
  const crypto = await cryptoOf(room.suite)
  const [message] = decodeMlsMessage(room.shown.groupInfo, 0) ?? []
  assert.ok(message?.wireformat === 'mls_group_info')
  const { groupInfo } = message
  const tree = readTree(room.shown.tree)
  const place = leavesOf(tree).findIndex(({ identity }) => sameBytes(identity.device, by.self.device))
  const add = await addInTheNameOf(by.owner, by)
  assert.ok(add.proposalType === 'add')
  const { keyPackage } = add.add
  const standings = readStandings(groupInfo.extensions, { isExternal: true })
  const refs = [refOf({ ...newest(by.owner), account: by.owner.account.id })]
  const note: CommitNote = {
    group: room.id,
    ...room.world.sending(by),
    roster: [...room.view([...room.seats.keys()][0] ?? by).roster],
    lists: refs,
    departures: [],
    standings: hashOf(encode(Standings, standingsAfter(standings, refs, Number(groupInfo.groupContext.epoch)))),
  }
  const { publicMessage, newState } = await joinGroupExternal(
    groupInfo,
    keyPackage,
    { initPrivateKey: noKey, hpkePrivateKey: noKey, signaturePrivateKey: by.self.signatureSeed.reveal() },
    place >= 0,
    crypto,
    tree,
    engineConfig(
      () => true,
      (_, { signaturePublicKey }) => sameBytes(signaturePublicKey, keyPackage.leafNode.signaturePublicKey),
    ),
    encode(CommitNote, note),
  )
  const forged: Forged = {
    commit: encodeMlsMessage({ version: 'mls10', wireformat: 'mls_public_message', publicMessage }),
    roster: note.roster,
    welcome: undefined,
    ...(await publicState(newState, standings, room.suite)),
  }
  return { forged, groupContext: groupInfo.groupContext, keyPackage }
}

/** Of a key package whose private half nobody uses: a device that joins by itself makes its own. */
const noKey = new Uint8Array(32)

/** An Add of `device` with a leaf that says to be of `owner`, whatever the list of `owner` says. */
export async function addInTheNameOf(
  owner: Somebody,
  device: TestDevice,
  lifetime = { notBefore: 0n, notAfter: 2n ** 63n - 1n },
): Promise<Proposal> {
  const { publicPackage } = await generateKeyPackageWithKey(
    {
      credentialType: 'basic',
      identity: encode(LeafIdentity, { device: device.self.device, list: refOf(newest(owner)) }),
    },
    capabilities,
    lifetime,
    packageExtensions({ notBefore: 0, notAfter: now }, false),
    {
      signKey: device.self.signatureSeed.reveal(),
      publicKey: (await signingKey(device.self.signatureSeed)).publicKey,
    },
    await cryptoOf('x25519'),
  )
  return { proposalType: 'add', add: { keyPackage: publicPackage } }
}

/** A key package that says to be good for longer than any may be. */
export async function longLivedPackage(
  self: LocalDevice,
  list: VerifiedList,
  { suite, now }: { suite: Suite; now: number },
): Promise<Uint8Array> {
  const lifetime = { notBefore: now, notAfter: now + 92 * 86_400_000 }
  const { publicPackage: keyPackage } = await freshPackage(self, list, { suite, lifetime })
  return encodeMlsMessage({ version: 'mls10', wireformat: 'mls_key_package', keyPackage })
}

function standingsAfter(standings: Standings, refs: readonly ListRef[], epoch: number): Standings {
  const since = (ref: ListRef) => standings.find(({ account }) => sameBytes(account, ref.account))?.since ?? epoch + 1
  return [
    ...standings.filter(({ account }) => !refs.some((ref) => sameBytes(ref.account, account))),
    ...refs.map((ref) => ({ ...ref, since: since(ref) })),
  ].toSorted((one, other) => compareBytes(one.account, other.account))
}

/** The state of a member that remembers another epoch before the present one than the others do. */
export function withOtherPast(state: ConversationState): ConversationState {
  const group = readGroup(state)
  const [present, ...earlier] = group.epochs
  assert.ok(present)
  const bent = { ...decode(Epoch, present), previousAuthenticator: new Uint8Array(32).fill(7) }
  return { ...state, group: encode(Group, { ...group, epochs: [encode(Epoch, bent), ...earlier] }) }
}

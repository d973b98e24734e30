import { decode } from '@messageu/protocol'
import {
  decodeMlsMessage,
  encodeMlsMessage,
  type GroupInfo,
  type KeyPackage,
  type MLSMessage,
  type PrivateMessage,
  type Proposal,
  type PublicMessage,
  type UpdatePath,
  type Welcome,
} from 'ts-mls'
import { sameBytes } from '../bytes.ts'
import { mustHold } from './errors.ts'
import { mustBeCapable, readRules } from './extensions.ts'
import type { Change } from './judge.ts'
import { claimOf } from './leaves.ts'
import { limits } from './limits.ts'
import type { Member } from './members.ts'
import { CommitNote, GroupId } from './shared.ts'

// Bytes of peers as values of the engine, refused before it works on them. CONVERSATIONS E 2

/** A commit whose outside is in order. What it wants, `changeOf` tells. */
export interface ReadCommit {
  readonly message: PublicMessage
  readonly epoch: number
  readonly note: CommitNote
  /** The leaf of the member that commits; none for a device that joins by it. */
  readonly leaf: number | undefined
  readonly proposals: readonly Proposal[]
  readonly path: UpdatePath | undefined
}

export function readCommit(bytes: Uint8Array): ReadCommit {
  const message = readMessage(bytes, limits.handshakeBytesMax)
  mustHold(message.wireformat === 'mls_public_message', 'malformed', 'a commit is a public message')
  const { content } = message.publicMessage
  mustHold(content.contentType === 'commit', 'malformed', 'a proposal by itself is nothing here')
  const { sender } = content
  mustHold(sender.senderType === 'member' || sender.senderType === 'new_member_commit', 'forbidden', 'an outsider')
  const note = decode(CommitNote, content.authenticatedData)
  const group = decode(GroupId, content.groupId)
  mustHold(sameGroup(group, note.group), 'misdirected', 'the note is about another conversation')
  return {
    message: message.publicMessage,
    epoch: Number(content.epoch),
    note,
    leaf: sender.senderType === 'member' ? sender.leafIndex : undefined,
    proposals: content.commit.proposals.map((each) => {
      mustHold(each.proposalOrRefType === 'proposal', 'forbidden', 'proposals stand inside their commit')
      return each.proposal
    }),
    path: content.commit.path,
  }
}

/**
 * What the commit wants: one kind of change. Every leaf that it names is there. Throws `forbidden` for what no
 * conversation has: updates of others, pre-shared keys, re-initialisation, Add and Remove together.
 */
export function changeOf({ leaf, proposals, path }: ReadCommit, members: readonly Member[]): Change {
  const [first] = proposals
  if (leaf === undefined) return rejoining(proposals, path, members)
  mustHold(atLeaf(members, leaf) !== undefined, 'forbidden', 'the leaf that commits is blank')
  if (first === undefined) return { kind: 'update' }
  if (first.proposalType === 'add') return { kind: 'add', joining: adding(proposals) }
  if (first.proposalType === 'remove') return { kind: 'remove', leaving: removing(proposals, members) }
  mustHold(
    first.proposalType === 'group_context_extensions' && proposals.length === 1,
    'forbidden',
    'a commit proposes what no conversation has',
  )
  return { kind: 'rules', rules: readRules(first.groupContextExtensions) }
}

/** A key package as somebody offers it; whose it is and for how long is judged apart. */
export function readKeyPackage(bytes: Uint8Array): KeyPackage {
  const message = readMessage(bytes, limits.keyPackageBytesMax)
  mustHold(message.wireformat === 'mls_key_package', 'malformed', 'the bytes are no key package')
  return message.keyPackage
}

export function readWelcome(bytes: Uint8Array): Welcome {
  const message = readMessage(bytes, limits.handshakeBytesMax)
  mustHold(message.wireformat === 'mls_welcome', 'malformed', 'the bytes are no Welcome')
  return message.welcome
}

export function readGroupInfo(bytes: Uint8Array): GroupInfo {
  const message = readMessage(bytes, limits.handshakeBytesMax)
  mustHold(message.wireformat === 'mls_group_info', 'malformed', 'the bytes are no GroupInfo')
  return message.groupInfo
}

export function readPrivateMessage(bytes: Uint8Array): PrivateMessage {
  const message = readMessage(bytes, limits.sealedBytesMax)
  mustHold(message.wireformat === 'mls_private_message', 'malformed', 'the bytes are no sealed message')
  mustHold(message.privateMessage.contentType === 'application', 'forbidden', 'a handshake that is sealed')
  return message.privateMessage
}

export function sameGroup(one: GroupId, other: GroupId): boolean {
  return one.generation === other.generation && sameBytes(one.conversation, other.conversation)
}

/** A message of the engine that is written in the one way it may be, to its last byte. */
function readMessage(bytes: Uint8Array, bytesMax: number): MLSMessage {
  mustHold(bytes.length <= bytesMax, 'malformed', `${bytes.length} bytes where at most ${bytesMax} may stand`)
  const [message] = decodeMlsMessage(new Uint8Array(bytes), 0) ?? []
  mustHold(message !== undefined, 'malformed', 'the bytes are no message of MLS')
  mustHold(sameBytes(encodeMlsMessage(message), bytes), 'malformed', 'not written in the one way it may be')
  return message
}

function adding(proposals: readonly Proposal[]) {
  mustHold(proposals.length <= limits.addsPerCommitMax, 'limit', `${proposals.length} devices in one commit`)
  return proposals.map((proposal) => {
    mustHold(proposal.proposalType === 'add', 'forbidden', 'a commit that adds does nothing else')
    mustBeCapable(proposal.add.keyPackage.leafNode)
    return claimOf(proposal.add.keyPackage.leafNode)
  })
}

function removing(proposals: readonly Proposal[], members: readonly Member[]): readonly Member[] {
  const leaving = proposals.map((proposal) => {
    mustHold(proposal.proposalType === 'remove', 'forbidden', 'a commit that removes does nothing else')
    return mustBeAt(members, proposal.remove.removed)
  })
  mustHold(new Set(leaving).size === leaving.length, 'forbidden', 'a device is removed once')
  return leaving
}

/** An external commit: exactly one `external_init`, and at most one Remove. §6.10 */
function rejoining(
  proposals: readonly Proposal[],
  path: UpdatePath | undefined,
  members: readonly Member[],
): Extract<Change, { kind: 'rejoin' }> {
  const starts = proposals.filter(({ proposalType }) => proposalType === 'external_init')
  const removes = proposals.filter((proposal) => proposal.proposalType === 'remove')
  const [remove] = removes
  mustHold(
    starts.length === 1 && removes.length <= 1 && starts.length + removes.length === proposals.length,
    'forbidden',
    'a device that rejoins replaces one leaf at most',
  )
  mustHold(path !== undefined, 'malformed', 'a device that rejoins brings its keys')
  mustBeCapable(path.leafNode)
  return {
    kind: 'rejoin',
    joining: claimOf(path.leafNode),
    replaced: remove && mustBeAt(members, remove.remove.removed),
  }
}

function mustBeAt(members: readonly Member[], leaf: number): Member {
  const member = atLeaf(members, leaf)
  mustHold(member !== undefined, 'forbidden', 'there is no such leaf to remove')
  return member
}

export function atLeaf(members: readonly Member[], leaf: number): Member | undefined {
  return members.find((member) => member.leaf === leaf)
}

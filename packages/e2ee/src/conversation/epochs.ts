import { decode, encode } from '@messageu/protocol'
import type { Hash } from '@messageu/protocol/v3'
import {
  type ClientConfig,
  type ClientState,
  decodeGroupState,
  defaultKeyPackageEqualityConfig,
  encodeGroupState,
  type GroupContext,
  type KeyRetentionConfig,
  type PaddingConfig,
  type PrivateKeyPath,
} from 'ts-mls'
import { decodeGroupContext, encodeGroupContext } from 'ts-mls/groupContext.js'
import type { Secret } from '../secret.ts'
import type { Advance } from './advance.ts'
import { suiteNamed } from './algorithms.ts'
import { readRules } from './extensions.ts'
import type { Situation } from './judge.ts'
import { limits } from './limits.ts'
import { type Member, memberOf } from './members.ts'
import { Ratchets } from './ratchets.ts'
import { ratchetsOf } from './secrettree.ts'
import { GroupId, hashOf, type Standings } from './shared.ts'
import { appliedMax, type ConversationState, Epoch, Group, mustBeOurs, readGroup } from './state.ts'

// Between the parts of a state and what the engine works on.

/** An epoch with its context in the engine's terms. */
export interface OpenEpoch extends Omit<Epoch, 'context'> {
  readonly number: number
  readonly id: GroupId
  readonly context: GroupContext
}

export function readEpoch(epoch: Uint8Array): OpenEpoch {
  const { context: contextBytes, ...rest } = decode(Epoch, epoch)
  const [context] = decodeGroupContext(contextBytes, 0) ?? []
  if (context === undefined) throw new Error('the state is damaged: an epoch without a context')
  return { ...rest, context, number: Number(context.epoch), id: decode(GroupId, context.groupId) }
}

export function presentEpoch({ epochs: [present] }: Group): OpenEpoch {
  if (present === undefined) throw new Error('the state is damaged: no epoch')
  return readEpoch(present)
}

/** What a message needs of a group. */
export interface Messaging extends Pick<Group, 'own' | 'epochs'> {
  readonly present: OpenEpoch
}

const read = new WeakMap<Uint8Array, Messaging>()

/** Read once for each epoch, and not with each message: bytes of a state are never changed, only replaced. */
export function messagingOf(state: ConversationState): Messaging {
  mustBeOurs(state)
  const known = read.get(state.group)
  if (known !== undefined) return known
  const group = readGroup(state)
  const messaging = { own: group.own, epochs: group.epochs, present: presentEpoch(group) }
  read.set(state.group, messaging)
  return messaging
}

/** What a member tells of the epoch before, so that two halves that were led apart notice it. */
export function previousOf({ previousAuthenticator }: OpenEpoch): Hash | undefined {
  return previousAuthenticator && hashOf(previousAuthenticator)
}

/** What all members know, for whoever judges a change. */
export function situationOf({ suite }: ConversationState, group: Group): Situation {
  const { id, number, context, members } = presentEpoch(group)
  return { suite, id, epoch: number, rules: readRules(context), members, standings: group.standings }
}

/** The engine's state for one operation on the group. The own signature key comes in, and is kept nowhere. */
export function engineState({ mls }: Group, config: ClientConfig, signatureSeed: Secret | undefined): ClientState {
  const [state] = decodeGroupState(mls, 0) ?? []
  if (state === undefined) throw new Error('the state is damaged: the engine does not read it')
  return { ...state, signaturePrivateKey: signatureSeed?.reveal() ?? new Uint8Array(), clientConfig: config }
}

export const messageKeyRetention: KeyRetentionConfig = {
  retainKeysForGenerations: limits.skippedKeysMax,
  retainKeysForEpochs: limits.earlierEpochsMax,
  maximumForwardRatchetSteps: limits.forwardStepsMax,
}

/** Content is padded before it gets to the engine. */
export const noPadding: PaddingConfig = { kind: 'padUntilLength', padUntilLength: 0 }

/** How the engine is to behave; `mayStand` decides which credentials it takes. */
export function engineConfig(
  mayStand: (credential: Uint8Array, signatureKey: Uint8Array) => boolean,
  replaces: ClientConfig['keyPackageEqualityConfig']['compareKeyPackageToLeafNode'] = defaultKeyPackageEqualityConfig.compareKeyPackageToLeafNode,
): ClientConfig {
  return {
    keyRetentionConfig: messageKeyRetention,
    lifetimeConfig: { maximumTotalLifetime: 2n ** 63n, validateLifetimeOnReceive: false },
    keyPackageEqualityConfig: { ...defaultKeyPackageEqualityConfig, compareKeyPackageToLeafNode: replaces },
    paddingConfig: noPadding,
    authService: {
      validateCredential: async (credential, signatureKey) =>
        credential.credentialType === 'basic' && mayStand(credential.identity, signatureKey),
    },
  }
}

/** The parts of a state at the beginning of an epoch. */
export type NewEpoch = Pick<ConversationState, 'suite' | 'group' | 'ratchets'>

/** What is kept of the engine's state once a commit, or a join, is through. */
export function beginEpoch(
  state: ClientState,
  { members, standings }: { members: readonly Member[]; standings: Standings },
  before?: { readonly group: Group; readonly commit: Hash; readonly losesDevice: boolean },
): NewEpoch {
  const { senderDataSecret, epochAuthenticator, exporterSecret } = state.keySchedule
  const suite = suiteNamed(state.groupContext.cipherSuite)
  if (suite === undefined) throw new Error('the engine has changed the suite')
  const epoch = encode(Epoch, {
    context: encodeGroupContext(state.groupContext),
    members,
    senderData: senderDataSecret,
    authenticator: epochAuthenticator,
    previousAuthenticator: before && presentEpoch(before.group).authenticator,
  })
  const earlier = before === undefined || before.losesDevice ? [] : before.group.epochs
  const group = encode(Group, {
    mls: encodeGroupState({
      ...state,
      privatePath: withoutBlanks(state),
      signaturePrivateKey: new Uint8Array(),
      secretTree: [],
      historicalReceiverData: new Map(),
      unappliedProposals: {},
    }),
    standings,
    own: state.privatePath.leafIndex,
    exporter: exporterSecret,
    applied: before === undefined ? [] : [before.commit, ...before.group.applied].slice(0, appliedMax),
    epochs: [epoch, ...earlier].slice(0, 1 + limits.earlierEpochsMax),
  })
  return { suite, group, ratchets: encode(Ratchets, ratchetsOf(state, members)) }
}

/** What a commit that was judged and followed makes of the conversation. */
export function advanceTo(
  next: ClientState,
  { members, standings }: { members: readonly Member[]; standings: Standings },
  { commit, group }: { commit: Hash; group: Group },
): Advance {
  const before = presentEpoch(group)
  const losesDevice = before.members.some(({ device }) => memberOf(members, device) === undefined)
  return { commit, losesDevice, ...beginEpoch(next, { members, standings }, { group, commit, losesDevice }) }
}

/** The engine keeps the private keys of nodes that have become blank; what they opened is nobody's business any more. */
function withoutBlanks({ privatePath, ratchetTree }: ClientState): PrivateKeyPath {
  const kept = Object.entries(privatePath.privateKeys).filter(([node]) => ratchetTree[Number(node)] !== undefined)
  return { ...privatePath, privateKeys: Object.fromEntries(kept) }
}

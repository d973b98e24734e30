import { encode } from '@messageu/protocol'
import type { AccountId, ConversationId } from '@messageu/protocol/v3'
import { createGroup } from 'ts-mls'
import { sameBytes } from '../bytes.ts'
import type { VerifiedList } from '../verifiedlist.ts'
import { begun } from './advance.ts'
import { cryptoOf } from './algorithms.ts'
import { beginEpoch, engineConfig, situationOf } from './epochs.ts'
import { mustHold } from './errors.ts'
import { rulesExtension } from './extensions.ts'
import { freshPackage } from './freshpackages.ts'
import type { LocalDevice } from './keypackages.ts'
import { claimOf } from './leaves.ts'
import { certificateOn, refOf } from './lists.ts'
import { accountsOf, inOrder } from './rules.ts'
import { type ConversationRules, GroupId } from './shared.ts'
import { type ConversationState, readGroup } from './state.ts'
import type { Suite } from './suites.ts'

/** What kind of conversation it is to be, and with whom. */
export type Purpose =
  | { readonly kind: 'own-devices' | 'self' }
  | { readonly kind: 'direct'; readonly with: AccountId }
  /** Its creator is the owner until the roles change. */
  | { readonly kind: 'group' }

export interface Beginning {
  readonly conversation: ConversationId
  /** Above 1 for a device that begins anew what it has no state of. */
  readonly generation?: number
  readonly purpose: Purpose
  readonly suite: Suite
}

/** A conversation with this device alone in it, at epoch 0: the first commit adds the others. §6.1 */
export function createConversation(
  self: LocalDevice,
  list: VerifiedList,
  { conversation, generation = 1, purpose, suite }: Beginning,
): Promise<ConversationState> {
  return alone(self, list, { suite, id: { conversation, generation }, rules: rulesFor(purpose, self.account) })
}

export interface Continuation {
  /** The next one, if nothing is said. */
  readonly generation?: number
  readonly without?: AccountId
  readonly suite?: Suite
}

/**
 * A later generation of a conversation that cannot go on: this device alone in it, and the accounts to be added, which
 * are the same as before but for at most one. Owners stay owners; any member may bring back who was there. §6.8
 */
export async function recreate(
  state: ConversationState,
  self: LocalDevice,
  list: VerifiedList,
  { without, suite = state.suite, generation }: Continuation = {},
): Promise<{ readonly state: ConversationState; readonly accounts: readonly AccountId[] }> {
  const situation = situationOf(state, readGroup(state))
  const { id, rules } = situation
  mustHold(without === undefined || rules.kind === 'group', 'forbidden', 'nobody is left out of a pair')
  const stays = (account: AccountId) => without === undefined || !sameBytes(account, without)
  const accounts = accountsOf(situation).filter(stays)
  const next = await alone(self, list, {
    suite,
    id: { ...id, generation: generation ?? id.generation + 1 },
    rules: { ...rules, owners: rules.owners.filter(stays), invited: accounts },
  })
  return { state: next, accounts }
}

function rulesFor(purpose: Purpose, own: AccountId): ConversationRules {
  switch (purpose.kind) {
    case 'own-devices':
    case 'self':
      return { kind: purpose.kind, owners: [], invited: [own] }
    case 'direct':
      return { kind: 'direct', owners: [], invited: inOrder([own, purpose.with]) }
    case 'group':
      return { kind: 'group', owners: [own], invited: [] }
  }
}

async function alone(
  self: LocalDevice,
  list: VerifiedList,
  { suite, id, rules }: { suite: Suite; id: GroupId; rules: ConversationRules },
): Promise<ConversationState> {
  const lifetime = { notBefore: 0, notAfter: 0 } // of a leaf that nobody adds
  const { publicPackage, privatePackage } = await freshPackage(self, list, { suite, lifetime })
  const state = await createGroup(
    encode(GroupId, id),
    publicPackage,
    privatePackage,
    rulesExtension(rules),
    await cryptoOf(suite),
    engineConfig(() => true),
  )
  const { identity, signatureKey } = claimOf(publicPackage.leafNode)
  const { device, requestKey } = certificateOn(list, identity, signatureKey)
  const members = [{ leaf: 0, account: self.account, device, signatureKey, requestKey }]
  return begun(beginEpoch(state, { members, standings: [{ ...refOf(list), since: 0 }] }))
}

import type { DeviceId, Hash } from '@messageu/protocol/v3'
import { emptyPskIndex, type GroupInfo, joinGroup, type KeyPackage, type Welcome } from 'ts-mls'
import { decryptGroupInfo, decryptGroupSecrets } from 'ts-mls/welcome.js'
import { sameBytes } from '../bytes.ts'
import { begun } from './advance.ts'
import { cryptoOf, suiteNamed } from './algorithms.ts'
import { beginEpoch, engineConfig } from './epochs.ts'
import { ConversationError, type ConversationReason, mustHold, refusing } from './errors.ts'
import { privateKeysOf } from './freshpackages.ts'
import { atLeaf, readKeyPackage, readWelcome } from './handshakes.ts'
import type { LocalDevice, NewKeyPackage } from './keypackages.ts'
import type { KnownLists, NeedsLists } from './lists.ts'
import { type Person, personOf } from './members.ts'
import { type GroupId, hashOf } from './shared.ts'
import type { ConversationState } from './state.ts'
import { isAmong, survey } from './survey.ts'

export interface Refused {
  readonly kind: 'refused'
  readonly reason: ConversationReason
  readonly explanation: string
}

export type Joined =
  | {
      readonly kind: 'joined'
      readonly state: ConversationState
      /** To be remembered: the same Welcome is never opened again. */
      readonly welcome: Hash
      /** Of the key package that was used; a single-use one goes in the same step. */
      readonly usedPackage: Uint8Array
      readonly by: Person
    }
  | NeedsLists
  | Refused

/** A Welcome as the server delivers it, with the tree that it names. */
export interface ArrivedWelcome extends GroupId {
  readonly sender: DeviceId
  readonly welcome: Uint8Array
  readonly tree: Uint8Array
}

/** What the device remembers that bears on a Welcome. §6.10 */
export interface Memory {
  readonly packages: readonly Pick<NewKeyPackage, 'ref' | 'keyPackage' | 'privateKeys'>[]
  /** Whether this generation is held already: not if the device was removed, or is about to rejoin. */
  readonly isHeld: boolean
  readonly wasSeen: (welcome: Hash) => boolean
}

/** Takes a device into the conversation that a Welcome is for, if every leaf there is who it says. §6.10 */
export async function joinFromWelcome(
  self: LocalDevice,
  arrived: ArrivedWelcome,
  { lists, memory }: { readonly lists: KnownLists; readonly memory: Memory },
): Promise<Joined> {
  try {
    const hash = hashOf(arrived.welcome)
    mustHold(!memory.wasSeen(hash), 'seen', 'this Welcome was opened before')
    mustHold(!memory.isHeld, 'held', 'the device is in this generation already')
    const opened = await openWelcome(self, arrived.welcome, memory)
    return await enter(self, { arrived, hash, opened }, lists)
  } catch (error) {
    return refusedBy(error)
  }
}

export function refusedBy(error: unknown): Refused {
  if (!(error instanceof ConversationError)) throw error
  return { kind: 'refused', reason: error.reason, explanation: error.message }
}

interface OpenedWelcome {
  readonly welcome: Welcome
  readonly groupInfo: GroupInfo
  readonly used: Memory['packages'][number]
  readonly keyPackage: KeyPackage
}

async function openWelcome(self: LocalDevice, bytes: Uint8Array, { packages }: Memory): Promise<OpenedWelcome> {
  const welcome = await refusing('malformed', 'the Welcome cannot be read', () => readWelcome(bytes))
  const suite = suiteNamed(welcome.cipherSuite)
  mustHold(suite !== undefined, 'other-suite', 'the Welcome is of a suite that is not used here')
  const used = packages.find(({ ref }) => welcome.secrets.some(({ newMember }) => sameBytes(newMember, ref)))
  mustHold(used !== undefined, 'no-package', 'the Welcome is for none of the key packages that are left')
  const crypto = await cryptoOf(suite)
  const groupInfo = await refusing('unverifiable', 'the Welcome cannot be opened', async () => {
    const privateKey = await crypto.hpke.importPrivateKey(privateKeysOf(used.privateKeys, self).initPrivateKey)
    const secrets = await decryptGroupSecrets(privateKey, used.ref, welcome, crypto.hpke)
    mustHold(secrets !== undefined && secrets.psks.length === 0, 'forbidden', 'the Welcome wants what nobody has')
    return decryptGroupInfo(welcome, secrets.joinerSecret, new Uint8Array(crypto.kdf.size), crypto)
  })
  mustHold(groupInfo !== undefined, 'malformed', 'there is no GroupInfo in the Welcome')
  return { welcome, groupInfo, used, keyPackage: readKeyPackage(used.keyPackage) }
}

async function enter(
  self: LocalDevice,
  { arrived, hash, opened }: { arrived: ArrivedWelcome; hash: Hash; opened: OpenedWelcome },
  lists: KnownLists,
): Promise<Joined> {
  const { welcome, groupInfo, used, keyPackage } = opened
  const found = await survey({ groupInfo, tree: arrived.tree, expected: arrived }, { isExternal: false, lists })
  if (found.kind === 'needs') return found
  const { tree, members, standings, signer, suite } = found
  mustHold(sameBytes(signer.device, arrived.sender), 'misdirected', 'the server names another sender')
  const keys = privateKeysOf(used.privateKeys, self)
  const config = engineConfig(isAmong(members))
  const crypto = await cryptoOf(suite)
  const state = await refusing('unverifiable', 'the Welcome does not hold', () =>
    joinGroup(welcome, keyPackage, keys, emptyPskIndex, crypto, tree, undefined, config),
  )
  const own = atLeaf(members, state.privatePath.leafIndex)
  mustHold(own !== undefined && sameBytes(own.device, self.device), 'misdirected', 'the Welcome is for another device')
  return {
    kind: 'joined',
    state: begun(beginEpoch(state, { members, standings })),
    welcome: hash,
    usedPackage: used.ref,
    by: personOf(signer),
  }
}

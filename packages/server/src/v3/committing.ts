import { hash } from 'node:crypto'
import { bytes, encode, fixed, struct, u32, u64 } from '@messageu/protocol'
import {
  type Accepted,
  Commit,
  type ConversationId,
  DeliveredCommit,
  DeliveredWelcome,
  type DeviceId,
  type Hash,
  limits,
  RefusedError,
} from '@messageu/protocol/v3'
import type { BoxMessage, ObjectChange } from '../archive.ts'
import { boxOf } from './boxes.ts'
import { type Conversation, type ConversationState, keyOf, oldestIn, type Place, refusedFor } from './conversation.ts'
import { handshakeKey } from './conversationkeys.ts'
import { Letter } from './letters.ts'
import {
  accountsAdded,
  afterCommit,
  type KnownDevices,
  mayCommit,
  notPermitted,
  type RosterChange,
  rosterChange,
} from './membership.ts'
import type { Parts } from './parts.ts'
import { answerBefore, isNew, type Named, turnOf } from './priors.ts'
import type { Account, Device } from './services.ts'
import { learnWelcomeTrees, type WelcomeTree, withWelcomeTree } from './welcometrees.ts'

/** The GroupInfo of a conversation, and where it belongs. */
export const KeptGroupInfo = struct({
  generation: u32,
  epoch: u64,
  groupInfo: bytes({ max: limits.handshakeBytesMax }),
})
/** The tree of a conversation, under its hash. */
export const KeptTree = struct({ hash: fixed<Hash>(32), tree: bytes({ max: limits.handshakeBytesMax }) })

/** A letter on its way into a box, and to whom. */
interface Posting {
  readonly letter: Letter
  readonly into: Place
  readonly content: Uint8Array
  readonly recipients: ReadonlySet<number>
}

/**
 * Accepts one commit, with everything that it brings: one step, guarded by the epoch. Of several made in one epoch the
 * first one wins, and the others are told where it stands. Protocol 3 §6.4.
 */
export async function commit(
  parts: Parts,
  device: Device,
  request: Commit,
  turn: 'free' | 'taken' = 'free',
): Promise<Accepted> {
  const { archive, deliveries, ledgers, shelf, strangers, trimming } = parts
  const { conversation: id, number } = request
  const digest = hash('sha256', encode(Commit, request), 'buffer').subarray(0, 8)
  const named: Named = { device: device.number, number, id: request.id, digest }
  const admitted = new Set<Account>()
  let isKnownNew = false
  let isPaid = false
  for (;;) {
    const conversation = await shelf.find(id)
    if (conversation === undefined) throw notPermitted('no such conversation')
    const { state } = conversation
    const known = await devicesOf(parts, state.roster, request.roster)
    const ledger = await ledgers.ofNumber(state.creator)
    const welcome = isPaid ? undefined : await strangers.to(conversation, device.account, 'commit')
    const sends = await archive.sends(device.number)
    if (state.welcomeTrees === undefined) await learnWelcomeTrees(archive, conversation)
    // nothing is waited for from here on, unless it is begun anew
    if (!shelf.holds(conversation) || conversation.state !== state) continue

    if (isNew(sends, named) === 'maybe' && !(isKnownNew && !sends.has(number))) {
      if (turn === 'free') return parts.turns.take([turnOf(named)], () => commit(parts, device, request, 'taken'))
      const answer = await answerBefore(archive, named)
      if (answer !== undefined) return answer
      isKnownNew = true
      continue
    }
    const refused = refusedFor(conversation, () => mayCommit(state, device, request))
    if (refused !== undefined) {
      await refused
      continue
    }
    const change = rosterChange(state, device, request.roster, known)
    mustBeAddressed(request)
    if (welcome?.isBlocked === true) throw notPermitted('no such conversation')
    const newcomers = accountsToAsk(device, change).filter((account) => !admitted.has(account))
    if (newcomers.length > 0) {
      // the others of a pair were told when it was opened
      const coming = state.kind === 'group' ? accountsAdded(state, change) : []
      for (const account of newcomers)
        await admit(parts, { by: device.account, account, to: id, isComing: coming.includes(account) })
      for (const account of newcomers) admitted.add(account)
      continue
    }
    if (welcome !== undefined && welcome.strangers.length > 0) {
      await strangers.charge(device.account, welcome, request.commit.length)
      isPaid = true
      continue
    }

    const sequence = conversation.sequence + 1
    const treeHash = Uint8Array.from(hash('sha256', request.tree, 'buffer')) as Hash // SHA-256 makes a hash
    const oldest = oldestIn(archive, conversation.boxes)
    const added = welcomed(request, { sequence, added: change.added, hash: treeHash })
    const { trees: welcomeTrees, ...forWelcomes } = withWelcomeTree(archive, conversation, added, request.tree)
    const next = afterCommit(
      state,
      change,
      { treeHash, welcomeTrees, handshakeBytes: request.groupInfo.length + request.tree.length + forWelcomes.bytes },
      { sequence, position: archive.position, isRead: ({ until }) => until < oldest },
    )
    const postings = postingsOf(conversation, device, request, { next, treeHash })
    const now = parts.clock.nowMs()
    for (const { letter } of postings) letter.accept(sequence, now)
    const bytes = postings.reduce((sum, { content }) => sum + content.length, 0)
    ledger.mustHaveRoom(conversation.number, bytes, 'commit')
    const sent = { device: device.number, number, conversation: conversation.number, sequence, digest }
    const messages: BoxMessage[] = postings.map(({ into, content }, i) => ({
      box: into.box,
      id: request.id,
      content,
      sent: i === postings.length - 1 ? sent : undefined,
    }))
    ledger.underWayBytes += bytes
    try {
      const { positions, at } = await shelf.change(
        conversation,
        { state: next, sequence },
        { objects: [...handshakeObjects(conversation, request, next), ...forWelcomes.objects], messages, at: now },
        (positions) => {
          for (const [i, { letter, into, recipients }] of postings.entries())
            deliveries.arrived(letter, positions[i] as number, into, recipients) // one for each message
        },
      )
      if (change.removed.length > 0) trimming.note(id)
      return { sequence, position: positions[positions.length - 1] as number, at } // the commit is the last one
    } finally {
      ledger.underWayBytes -= bytes
    }
  }
}

/** The devices of a roster that are not on the one before, as far as they exist. */
export async function devicesOf(
  { directory }: Pick<Parts, 'directory'>,
  before: ConversationState['roster'],
  roster: readonly DeviceId[],
): Promise<KnownDevices> {
  const there = new Set(before.map(({ device }) => keyOf(device)))
  const known = new Map<string, Device>()
  for (const id of roster) {
    const device = there.has(keyOf(id)) ? undefined : await directory.device(id)
    if (device !== undefined) known.set(keyOf(id), device)
  }
  return known
}

/** Whoever is brought in may have something against it. */
function accountsToAsk({ account: own }: Device, { added }: RosterChange): Account[] {
  return [...new Set(added.map(({ account }) => account))].filter((account) => account !== own)
}

/** Throws if an account may not be brought in by another one; whoever does not know it yet gets a request. */
async function admit(
  { contacts, ledgers, strangers }: Parts,
  { by, account, to, isComing }: { by: Account; account: Account; to: ConversationId; isComing: boolean },
): Promise<void> {
  const standing = await contacts.standing(by, account)
  if (standing === 'blocked') throw notPermitted('no such device')
  if (!isComing) return
  const ledger = await ledgers.of(account)
  ledger.mustHavePlace()
  if (standing === 'stranger') await strangers.introduce(by, account, to)
}

function mustBeAddressed({ roster, welcomes }: Commit): void {
  const there = new Set(roster.map(keyOf))
  const named = welcomes.flatMap(({ devices }) => devices.map(keyOf))
  if (new Set(named).size < named.length) throw new RefusedError('malformed', 'a device gets two Welcomes')
  if (named.some((id) => !there.has(id))) throw new RefusedError('malformed', 'a Welcome for nobody on the roster')
  // each device gets its own: one of 4 MiB for 500 devices would be 2 GiB
  const bytes = welcomes.reduce((sum, { devices, welcome }) => sum + devices.length * welcome.length, 0)
  if (bytes > limits.frameBytesMax) throw new RefusedError('too-large', `${bytes} bytes of Welcomes for all devices`)
}

/** The Welcomes, each for one device, and behind them the commit: a joiner hears of itself first. */
function postingsOf(
  { id, boxes, state }: Conversation,
  { id: sender, number }: Device,
  request: Commit,
  { next, treeHash }: { next: ConversationState; treeHash: Hash },
): Posting[] {
  const { generation, epoch, commit, roster } = request
  const addressed = { conversation: id, generation, sender: number }
  const numbers = new Map(next.roster.map(({ device, number }) => [keyOf(device), number]))
  const postings: Posting[] = []
  for (const { devices, welcome } of request.welcomes) {
    const sealed = encode(DeliveredWelcome, { epoch: epoch + 1, sender, treeHash, welcome })
    for (const device of devices) {
      const number = numbers.get(keyOf(device)) as number // Welcomes are for the roster
      const letter = Letter.of({ ...addressed, kind: 'welcome', sealed })
      const into = { box: boxOf('welcome', number), conversation: undefined }
      postings.push({ letter, into, content: letter.contentWithConversation, recipients: new Set([number]) })
    }
  }
  const sealed = encode(DeliveredCommit, { epoch, sender, id: request.id, commit, roster })
  const letter = Letter.of({ ...addressed, kind: 'commit', sealed })
  const recipients = state.audience.union(next.audience)
  const into = { box: boxes.handshake, conversation: id }
  postings.push({ letter, into, content: letter.content, recipients })
  return postings
}

/**
 * Whoever comes by a Welcome needs the tree of its commit, however many others come before it does. It is stored beside the
 * newest one, if that leaves room in the step for everything else.
 */
function welcomed(
  { commit, groupInfo, tree, welcomes }: Commit,
  { sequence, added, hash }: { sequence: number; added: RosterChange['added']; hash: Hash },
): Pick<WelcomeTree, 'sequence' | 'hash' | 'devices'> | undefined {
  if (welcomes.length === 0) return undefined
  const welcomeBytes = welcomes.reduce((sum, { devices, welcome }) => sum + devices.length * welcome.length, 0)
  if (commit.length + groupInfo.length + 2 * tree.length + welcomeBytes > limits.frameBytesMax) return undefined
  return { sequence, hash, devices: added.map(({ number }) => number) }
}

function handshakeObjects(
  { number }: Conversation,
  { generation, groupInfo, tree }: Commit,
  { epoch, treeHash }: ConversationState,
): ObjectChange[] {
  return [
    {
      kind: 'handshake',
      key: handshakeKey(number, 'group-info'),
      value: encode(KeptGroupInfo, { generation, epoch, groupInfo }),
    },
    { kind: 'handshake', key: handshakeKey(number, 'tree'), value: encode(KeptTree, { hash: treeHash, tree }) },
  ]
}

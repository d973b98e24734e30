import {
  ConversationError,
  type ConversationState,
  isContinuation,
  type Joined,
  joinFromWelcome,
  packagesOf,
  sealedHash,
  view,
} from '@messageu/e2ee/conversation'
import { decode, ProtocolError } from '@messageu/protocol'
import {
  type AccountId,
  type ConversationId,
  DeliveredWelcome,
  type Delivery,
  type Hash,
  RefusedError,
} from '@messageu/protocol/v3'
import type { Asker } from '../asker.ts'
import { isAmong, sameBytes } from '../bytes.ts'
import { dropRow, getRow, putRow } from '../rows.ts'
import { announce, isAnnounced } from './announcing.ts'
import { enter } from './commits-in.ts'
import { noteDirect } from './directs.ts'
import { countersOf, putCounters } from './feed.ts'
import { messagingLimits as limits } from './limits.ts'
import { noteJoined } from './newcomers.ts'
import { requesterOf, reveal } from './requests.ts'
import { asPublished, type ConversationRow, type PackageRow, packageRow } from './rows.ts'
import { getStuck } from './stuck.ts'
import type { Work } from './work.ts'

/** Somebody brings this device into a conversation. Whoever the user does not know brings a request. CONVERSATIONS C 11 */
export async function takeWelcome(
  work: Work,
  delivery: Delivery,
  known: ConversationRow | undefined,
  asker: Asker,
): Promise<void> {
  work.tools.touched(delivery.conversation)
  const joined = await join(work, delivery, known, asker)
  if (joined === undefined) return
  if (joined === 'overtaken') return waitForPlace(work, delivery, known)
  if (joined.kind === 'refused') return refuse(work, delivery, joined)
  const shown = view(joined.state)
  const before = known && (await work.state(known.conversation))
  const row = known ?? (await work.begin(delivery.conversation, shown))
  if (known === undefined && shown.kind === 'own-devices') await noteJoined(work)
  await spend(work, joined)
  const pending = await work.pending(row.conversation)
  work.dropState(row.conversation)
  work.putState(row.conversation, joined.state)
  // a way back that was taken before it came, and is behind it, takes effect at its place all the same
  if (pending?.isRejoin && pending.generation === shown.generation) work.putPending(row.conversation, pending)
  const standing = await standingAfter(work, row, { before, joined })
  const isSilent = standing.kind === 'request'
  const silentFrom = isSilent ? (row.silentFrom ?? row.base + delivery.sequence) : row.silentFrom
  const received = Math.max(row.received, delivery.sequence)
  const welcomes = [...row.welcomes, joined.welcome].slice(-limits.welcomesRemembered)
  const taken = await noteDirect(
    work,
    { ...row, kind: shown.kind, standing, silentFrom, received, welcomes, awaited: [] },
    shown,
  )
  const entered = enter(taken, shown, { sequence: delivery.sequence, keysSince: asPublished })
  const { conversation, generation } = shown
  const recorded = await work.record(
    entered,
    delivery,
    { kind: 'joined', body: { by: joined.by, members: shown.members } },
    { isFed: true },
  )
  if (isSilent) return tellRequest(work, row, { conversation, by: standing.body.by })
  await reveal(work, recorded)
  if (before !== undefined)
    await work.tell({ kind: 'renewed', body: { conversation, generation, by: joined.by.account } })
}

/** Once for each who asks: whoever asks for the same again has been told of. */
async function tellRequest(
  work: Work,
  before: ConversationRow,
  { conversation, by }: { conversation: ConversationId; by: AccountId },
): Promise<void> {
  const asked = requesterOf(before)
  if (asked !== undefined && sameBytes(asked, by)) return
  await work.tell({ kind: 'request', body: { account: by, conversation } })
}

async function join(
  work: Work,
  { conversation, generation, sealed }: Delivery,
  known: ConversationRow | undefined,
  asker: Asker,
): Promise<Exclude<Joined, { kind: 'needs' }> | 'overtaken' | undefined> {
  const arrived = readWelcome(sealed)
  if (arrived === undefined) return refusal('malformed', 'a Welcome that cannot be read')
  if (known !== undefined && !isAnnounced(known) && generation < known.generation)
    return refusal('older', 'a generation that has ended')
  if (known !== undefined && isAmong(sealedHash(arrived.welcome), known.welcomes))
    return refusal('seen', 'this Welcome was opened before')
  const tree = await treeOf(conversation, arrived, asker)
  if (tree === undefined) return 'overtaken'
  const packages = await packagesFor(work, arrived.welcome)
  const isHeld = known !== undefined && known.generation === generation && isInside(known)
  const memory = {
    packages,
    isHeld,
    wasSeen: (hash: Hash) => packages.some(({ welcomes }) => isAmong(hash, welcomes)),
  }
  const { sender, welcome } = arrived
  const attempt = () =>
    joinFromWelcome(
      work.me.self,
      { conversation, generation, sender, welcome, tree },
      { lists: work.tools.lists.known, memory },
    )
  const joined = await attempt()
  if (joined.kind !== 'needs') return joined
  const again = (await work.learn(joined.lists, asker)) ? await attempt() : joined
  return again.kind === 'needs' ? refusal('list', 'the server does not have the device lists of the members') : again
}

/**
 * Others have gone on since, and only the newest tree is kept: the device takes its place by itself, from outside.
 * Protocol 3 §6.7
 */
async function waitForPlace(
  work: Work,
  { conversation, generation, sequence }: Delivery,
  known: ConversationRow | undefined,
): Promise<void> {
  if (known !== undefined && known.generation >= generation && isInside(known)) return
  const row = known ?? (await announce(work, conversation, { kind: 'group', generation, isInsistent: true }))
  if (row === undefined || row.standing.kind === 'withdrawn') return
  const waiting = { ...row, received: Math.max(row.received, sequence) }
  if (row.standing.kind === 'request')
    return void (await getStuck(work, waiting, { epoch: row.epoch, why: 'it was begun anew, and others have gone on' }))
  const standing = { kind: 'waiting', body: { since: work.nowMs } } as const
  work.put(isAnnounced(waiting) ? waiting : { ...waiting, standing })
}

/** Told once for each reason that a user can do something about; a Welcome that comes twice is nothing. */
async function refuse(
  work: Work,
  { conversation }: Delivery,
  { reason, explanation }: Extract<Joined, { kind: 'refused' }>,
): Promise<void> {
  if (reason === 'seen' || reason === 'held') return
  const counters = await countersOf(work.store)
  const isOfToday = Math.abs(work.nowMs - counters.unwelcome.since) < dayMs
  const { since, told } = isOfToday ? counters.unwelcome : { since: work.nowMs, told: 0 }
  if (told === limits.unwelcomePerDay) return
  work.store.put(putCounters({ ...counters, unwelcome: { since, told: told + 1 } }))
  const last = told + 1 === limits.unwelcomePerDay ? '; more of them are not told within a day' : ''
  const words = `${reason}: ${explanation}`.slice(0, limits.wordsBytesMax / 4 - last.length)
  await work.tell({ kind: 'unwelcome', body: { conversation, reason: `${words}${last}` } })
}

const dayMs = 86_400_000

/** The key package that was used: a single-use one is gone with that, a last resort remembers the Welcome. */
async function spend(work: Work, { usedPackage, welcome }: Extract<Joined, { kind: 'joined' }>): Promise<void> {
  const used = await getRow(work.store, packageRow, usedPackage)
  if (used === undefined) return
  const welcomes = [...used.welcomes, welcome]
  work.store.put(
    used.isLastResort ? putRow(packageRow, usedPackage, { ...used, welcomes }) : dropRow(packageRow, usedPackage),
  )
}

async function standingAfter(
  work: Work,
  row: ConversationRow,
  { before, joined }: { before: ConversationState | undefined; joined: Extract<Joined, { kind: 'joined' }> },
): Promise<ConversationRow['standing']> {
  const by = joined.by.account
  const isContinued = before !== undefined && row.standing.kind !== 'request' && isContinuation(before, joined.state)
  if (isContinued || sameBytes(by, work.me.self.account) || (await isAccepted(work, by)))
    return { kind: 'active', body: undefined }
  const asked = requesterOf(row)
  const isThere = asked && view(joined.state).members.some(({ account }) => sameBytes(account, asked))
  return { kind: 'request', body: { by: isThere ? asked : by, stuck: undefined } }
}

async function isAccepted(work: Work, account: AccountId): Promise<boolean> {
  return (await work.contact(account))?.standing === 'accepted'
}

async function packagesFor(work: Work, welcome: Uint8Array): Promise<readonly (PackageRow & { ref: Uint8Array })[]> {
  const found: (PackageRow & { ref: Uint8Array })[] = []
  for (const ref of await refsOf(welcome)) {
    const row = await getRow(work.store, packageRow, ref)
    if (row !== undefined && row.welcomes.length < limits.welcomesPerPackageMax) found.push({ ...row, ref })
  }
  return found
}

async function refsOf(welcome: Uint8Array): Promise<readonly Uint8Array[]> {
  try {
    return await packagesOf(welcome)
  } catch (error) {
    if (error instanceof ConversationError) return []
    throw error
  }
}

async function treeOf(
  conversation: Delivery['conversation'],
  { treeHash }: DeliveredWelcome,
  asker: Asker,
): Promise<Uint8Array | undefined> {
  try {
    return (await asker.request('read-tree', { conversation, treeHash }, { signal: never })).tree
  } catch (error) {
    if (error instanceof RefusedError && error.retry === 'never') return undefined
    throw error
  }
}

function isInside({ standing }: ConversationRow): boolean {
  return standing.kind === 'active' || standing.kind === 'request'
}

function readWelcome(sealed: Uint8Array): DeliveredWelcome | undefined {
  try {
    return decode(DeliveredWelcome, sealed)
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}

function refusal(
  reason: Extract<Joined, { kind: 'refused' }>['reason'],
  explanation: string,
): Extract<Joined, { kind: 'refused' }> {
  return { kind: 'refused', reason, explanation }
}

const never = new AbortController().signal

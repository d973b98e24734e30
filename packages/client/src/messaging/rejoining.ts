import { type NeedsLists, type StagedRejoin, stageRejoin } from '@messageu/e2ee/conversation'
import { type ConversationId, type DeviceId, RefusedError } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { isOn } from '../lists.ts'
import type { Draft, Place } from '../outbox.ts'
import { orAborted } from '../waiting.ts'
import { isAnnounced } from './announcing.ts'
import { inGeneration } from './commits-in.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import type { ConversationRow, Person } from './rows.ts'
import { within } from './within.ts'
import type { Work } from './work.ts'
import { write } from './writing.ts'

/** What the server shows of a conversation to a device that has no place in it. */
interface Shown {
  readonly generation: number
  readonly groupInfo: Uint8Array
  readonly tree: Uint8Array
}

/**
 * Takes this device's place in a conversation again, or its first if its account is there already: by a commit from
 * outside on the newest public state. `refused` if that state does not hold, the account has no place, or the server does
 * not deliver what it has accepted. CONVERSATIONS D 3
 */
export async function rejoin(desk: Desk, conversation: ConversationId, { signal }: Wait): Promise<'done' | 'refused'> {
  await know(desk, conversation)
  const own = desk.tools.me.self.account
  await desk.tools.lists.refresh(desk.store, own, { asker: desk.session.asker, signal })
  for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
    const isFree = async (): Promise<boolean> => (await look(desk).pending(conversation)) === undefined
    if (!(await within(desk, limits.placeMs, isFree, { signal }))) return 'refused'
    if (attempt > 0 && (await rowOf(desk, conversation))?.standing.kind === 'active') return 'done'
    const shown = await read(desk, conversation, { signal })
    if (shown === undefined) return 'refused'
    const submitted = await submit(desk, conversation, shown, { signal })
    if (submitted === 'busy') continue
    if (submitted === undefined) return 'refused'
    const outcome = await orAborted(submitted.outcome, signal)
    if (outcome.kind === 'accepted') {
      const isOver = async (): Promise<boolean> => !(await look(desk).isPending(conversation, submitted.place))
      await within(desk, limits.placeMs, isOver, { signal })
      return (await rowOf(desk, conversation))?.standing.kind === 'active' ? 'done' : 'refused'
    }
    if (outcome.error.retry !== 'changed') return 'refused'
  }
  return 'refused'
}

/** Whoever rejoins what it never was in has to know of it first. */
async function know(desk: Desk, conversation: ConversationId): Promise<void> {
  if ((await look(desk).conversation(conversation)) !== undefined) return
  const { kind, generation } = await desk.session.request('read-state', { conversation }, { signal: never })
  await write(desk, async (work) => void (await work.begin(conversation, { kind, generation })))
}

async function read(desk: Desk, conversation: ConversationId, { signal }: Wait): Promise<Shown | undefined> {
  try {
    const { generation, groupInfo, treeHash } = await desk.session.request('read-state', { conversation }, { signal })
    if (groupInfo.length === 0) return undefined
    const { tree } = await desk.session.request('read-tree', { conversation, treeHash }, { signal })
    return { generation, groupInfo, tree }
  } catch (error) {
    if (error instanceof RefusedError && error.retry === 'never') return undefined
    throw error
  }
}

async function submit(desk: Desk, conversation: ConversationId, shown: Shown, { signal }: Wait) {
  for (let round = 0; round < 3; round++) {
    let needs: NeedsLists['lists'] = []
    let isBusy = false
    try {
      return await desk.session.submit(
        async (place, rows) => {
          isBusy = (await look(desk, rows).pending(conversation)) !== undefined
          if (isBusy) throw new NotStaged()
          const staged = await stage(look(desk, rows), conversation, { place, shown })
          if (staged.kind === 'needs') needs = staged.lists
          if (staged.kind !== 'staged') throw new NotStaged()
          return draft(look(desk, rows), conversation, { place, shown, staged })
        },
        { signal },
      )
    } catch (error) {
      if (!(error instanceof NotStaged)) throw error
      if (isBusy) return 'busy'
      if (needs.length === 0 || !(await desk.tools.lists.learn(desk.store, needs, desk.session.asker))) return undefined
    }
  }
  return undefined
}

async function stage(
  work: Work,
  conversation: ConversationId,
  { place, shown }: { place: Place; shown: Shown },
): Promise<StagedRejoin> {
  const { me, lists } = work.tools
  const list = await lists.newest(work.store, me.self.account)
  const row = await work.conversation(conversation)
  if (list === undefined || row === undefined) throw new Error('whoever rejoins knows its list and the conversation')
  if (!isAnnounced(row) && shown.generation < row.generation)
    return { kind: 'refused', reason: 'older', explanation: 'the server shows a generation that has ended' }
  const newestEpoch = row.generation === shown.generation ? row.epoch : 0
  const options = { ...place, list, lists: lists.known, newestEpoch }
  const attempt = (replaces?: DeviceId) =>
    stageRejoin(me.self, { conversation, ...shown }, { ...options, ...(replaces && { replaces }) })
  const alone = await attempt()
  if (alone.kind !== 'staged') return alone
  if (!(await mayEnter(work, row, alone.members)))
    return { kind: 'refused', reason: 'forbidden', explanation: 'nobody that the user knows is there' }
  // a device of the own account that its list has no more gives its place to this one
  const replaces = alone.members.find(
    ({ account, device }) => sameBytes(account, me.self.account) && !isOn(list, device),
  )
  // whoever replaced the only one would join nobody: it comes beside that one, and takes it out then
  const others = alone.members.filter(({ device }) => !sameBytes(device, me.self.device))
  return replaces === undefined || others.length === 1 ? alone : attempt(replaces.device)
}

/** By its own doing a device comes only to where somebody is whom the user has accepted, or where it was. */
async function mayEnter(work: Work, row: ConversationRow, members: readonly Person[]): Promise<boolean> {
  if ((row.standing.kind !== 'waiting' && row.standing.kind !== 'announced') || row.isUnseen) return true
  const { account, device } = work.me.self
  for (const member of members) {
    if (sameBytes(member.device, device)) continue
    if (sameBytes(member.account, account)) return true
    if ((await work.contact(member.account))?.standing === 'accepted') return true
  }
  return false
}

async function draft(
  work: Work,
  conversation: ConversationId,
  { place, shown, staged }: { place: Place; shown: Shown; staged: Extract<StagedRejoin, { kind: 'staged' }> },
): Promise<Draft> {
  const { pending: advance, epoch, commit, roster, welcomes, groupInfo, tree } = staged
  const { generation } = shown
  const row = await work.conversation(conversation)
  if (row !== undefined) work.put(inGeneration(row, generation))
  work.putPending(conversation, { id: place.id, generation, epoch, isRejoin: true, advance })
  const request = { conversation, generation, epoch, commit, roster, welcomes, groupInfo, tree }
  return { sealed: { operation: 'commit', request }, changes: work.store.changes }
}

/** Nothing could be staged. Never leaves this file. */
class NotStaged extends Error {}

const never = new AbortController().signal

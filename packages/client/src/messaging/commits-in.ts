import {
  type Applied,
  applyCommit,
  ConversationError,
  type ConversationState,
  confirmRejoin,
  type NeedsLists,
  type View,
  view,
} from '@messageu/e2ee/conversation'
import { decode, ProtocolError } from '@messageu/protocol'
import { type AccountId, DeliveredCommit, type Delivery } from '@messageu/protocol/v3'
import type { Asker } from '../asker.ts'
import { isAmong, sameBytes } from '../bytes.ts'
import { noteDirect } from './directs.ts'
import { bringsKeys } from './healing.ts'
import { noteArrived } from './newcomers.ts'
import { requesterOf, reveal } from './requests.ts'
import type { ConversationRow, PendingRow, Person } from './rows.ts'
import { getStuck } from './stuck.ts'
import { beginEpoch } from './transcript.ts'
import { noteCome } from './untitled.ts'
import type { Work } from './work.ts'

/** A commit at its place in the sequence, one's own too. CONVERSATIONS C 5 */
export async function takeCommit(work: Work, delivery: Delivery, before: ConversationRow, asker: Asker): Promise<void> {
  work.put(before)
  work.tools.touched(before.conversation)
  if (isOver(before)) return
  const arrived = readCommit(delivery.sealed)
  const pending = await work.pending(before.conversation)
  // whatever has become of one's own commit, this was its place: nobody waits for it any longer
  const isPlaced = pending !== undefined && (arrived === undefined || sameBytes(pending.id, arrived.id))
  const row = isPlaced ? { ...before, accepted: undefined } : before
  if (isPlaced) {
    work.putPending(row.conversation, undefined)
    work.put(row)
  }
  if (arrived === undefined)
    return void (await getStuck(work, row, { epoch: row.epoch, why: 'a commit that cannot be read' }))
  if (
    pending?.isRejoin &&
    sameBytes(pending.id, arrived.id) &&
    (await tookRejoin(work, { delivery, row, arrived, pending }))
  )
    return
  const state = delivery.generation === row.generation ? await work.state(row.conversation) : undefined
  if (state === undefined) return delivery.generation === row.generation ? withoutState(work, row, arrived) : undefined
  const applied = await apply(work, state, { arrived, pending }, asker)
  await settle(work, { delivery, row, state, pending }, applied)
}

/** Whoever waits for its place waits no longer once the others have taken it off. */
function withoutState(work: Work, row: ConversationRow, { roster }: DeliveredCommit): void {
  const isThere = isAmong(work.me.self.device, roster)
  if (row.standing.kind === 'waiting' && !isThere)
    work.put({ ...row, standing: { kind: 'removed', body: { by: undefined } } })
}

function isOver({ standing }: ConversationRow): boolean {
  return standing.kind === 'removed' || standing.kind === 'left' || standing.kind === 'withdrawn'
}

interface At {
  readonly delivery: Delivery
  readonly row: ConversationRow
}

async function apply(
  work: Work,
  state: ConversationState,
  { arrived, pending }: { arrived: DeliveredCommit; pending: PendingRow | undefined },
  asker: Asker,
): Promise<Exclude<Applied, NeedsLists>> {
  const ours = pending?.isRejoin === false ? pending.advance : undefined
  const attempt = () => applyCommit(state, arrived, { lists: work.tools.lists.known, pending: ours })
  const applied = await attempt()
  if (applied.kind !== 'needs') return applied
  const again = (await work.learn(applied.lists, asker)) ? await attempt() : applied
  if (again.kind !== 'needs') return again
  const explanation = 'the server does not have the device list that a commit names'
  return { kind: 'stuck', epoch: view(state).epoch, reason: 'list', explanation, by: undefined }
}

async function settle(
  work: Work,
  at: At & { state: ConversationState; pending: PendingRow | undefined },
  applied: Exclude<Applied, NeedsLists>,
): Promise<void> {
  const { row, delivery } = at
  const { conversation } = row
  switch (applied.kind) {
    case 'applied':
      return advance(work, at, applied)
    case 'removed': {
      work.dropState(conversation)
      const gone: ConversationRow = { ...row, standing: standingOnceRemoved(row, applied.by.account) }
      const body = { by: applied.by, change: 'remove', arrived: [], left: [selfOf(work)] } as const
      await work.record(gone, delivery, { kind: 'change', body }, { isFed: true })
      return
    }
    case 'passed':
      return
    case 'early':
      return void (await getStuck(work, row, { epoch: row.epoch, why: 'a commit is missing' }))
    case 'fork':
      // epochs are compared within one incarnation only. Protocol 3 §3.1
      if (applied.epoch < row.restoredEpoch)
        return void (await getStuck(work, row, { epoch: row.epoch, why: 'the server has lost commits' }))
      if (row.silentFrom === undefined) await work.tell({ kind: 'fork', body: { conversation, epoch: applied.epoch } })
      return void (await getStuck(work, row, { epoch: applied.epoch, why: 'members were given different commits' }))
    case 'stuck':
      return void (await getStuck(work, row, {
        epoch: applied.epoch,
        why: applied.explanation,
        by: applied.by?.account,
      }))
  }
}

/** A request stays one until the user has decided: what was said in it is shown to whoever accepts. CONVERSATIONS C 11 */
function standingOnceRemoved(row: ConversationRow, removedBy: AccountId): ConversationRow['standing'] {
  const by = requesterOf(row)
  return by === undefined
    ? { kind: 'removed', body: { by: removedBy } }
    : { kind: 'withdrawn', body: { by, removedBy } }
}

async function advance(
  work: Work,
  { delivery, row, state, pending }: At & { state: ConversationState; pending: PendingRow | undefined },
  { state: next, by, change, arrived, left }: Extract<Applied, { kind: 'applied' }>,
): Promise<void> {
  work.putState(row.conversation, next, state)
  if (pending !== undefined) work.putPending(row.conversation, undefined) // it has won, or it has lost
  const isRenewed = sameBytes(by.device, work.me.self.device) && bringsKeys(change)
  const keysSince = isRenewed ? work.nowMs : undefined
  const entered = enter(row, view(next), { sequence: delivery.sequence, keysSince })
  if (change === 'add' && row.kind === 'own-devices') await noteArrived(work, row, arrived)
  if (change === 'add' && row.kind === 'group') await noteCome(work, row, { before: view(state), arrived })
  const body = { by, change, arrived, left }
  await work.record(entered, delivery, { kind: 'change', body }, { isFed: change !== 'update' })
}

/** What was said in an earlier generation and waits, nobody can open in a later one. */
export function inGeneration(row: ConversationRow, generation: number): ConversationRow {
  if (generation === row.generation) return row
  const ownTitle = row.ownTitle && { ...row.ownTitle, isLost: true }
  return { ...row, generation, restoredEpoch: 0, ownTitle }
}

/** The row once its conversation is in another epoch. */
export function enter(
  row: ConversationRow,
  { epoch, authenticator, generation }: View,
  { sequence, keysSince }: { sequence: number; keysSince: number | undefined },
): ConversationRow {
  const isStuck = row.standing.kind === 'stuck'
  return {
    ...inGeneration(row, generation),
    epoch,
    transcript: beginEpoch(row.transcript, { sequence, hash: authenticator }),
    ...(isStuck && { standing: { kind: 'active', body: undefined } as const }),
    ...(keysSince !== undefined && { sentSinceUpdate: 0, updatedAt: keysSince }),
  }
}

/** This device has its place again, if that is its own rejoining commit. */
async function tookRejoin(
  work: Work,
  { delivery, row, arrived, pending }: At & { arrived: DeliveredCommit; pending: PendingRow },
): Promise<boolean> {
  const state = await confirmed(work, arrived, pending)
  if (state === undefined) return false
  const { conversation } = row
  work.dropState(conversation)
  work.putState(conversation, state)
  const shown = view(state)
  const active = { ...row, kind: shown.kind, standing: { kind: 'active', body: undefined }, awaited: [] } as const
  const back = await noteDirect(work, active, shown)
  const entered = enter(back, shown, { sequence: delivery.sequence, keysSince: work.nowMs })
  const body = { by: selfOf(work), change: 'rejoin', arrived: [], left: [] } as const
  await work.record(await reveal(work, entered), delivery, { kind: 'change', body }, { isFed: false })
  await work.tell({ kind: 'rejoined', body: { conversation, members: shown.members } })
  return true
}

async function confirmed(
  work: Work,
  arrived: DeliveredCommit,
  { advance }: PendingRow,
): Promise<ConversationState | undefined> {
  try {
    return await confirmRejoin(work.me.self, arrived, advance)
  } catch (error) {
    if (error instanceof ConversationError) return undefined
    throw error
  }
}

function readCommit(sealed: Uint8Array): DeliveredCommit | undefined {
  try {
    return decode(DeliveredCommit, sealed)
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}

function selfOf({ me }: Work): Person {
  return { account: me.self.account, device: me.self.device }
}

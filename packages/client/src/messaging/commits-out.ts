import type { VerifiedList } from '@messageu/e2ee'
import { ConversationError, type ConversationState, stageCommit, type Wish } from '@messageu/e2ee/conversation'
import type { AccountId, ConversationId, Current } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import type { Draft, Outcome, Place } from '../outbox.ts'
import { orAborted } from '../waiting.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import type { ConversationRow } from './rows.ts'
import { within } from './within.ts'
import type { Work } from './work.ts'

/** What a commit is to do, and the accounts whose devices it concerns. */
interface Plan {
  readonly wish: Wish
  readonly accounts: readonly AccountId[]
}

/** Decides what is to be done, by what the conversation is now; nothing if there is nothing to do any more. */
export type Planning = (now: {
  work: Work
  row: ConversationRow
  state: ConversationState
}) => Promise<Plan | undefined>

/**
 * Brings a change of a conversation through: resolves when it has taken effect here. Where somebody else's commit is
 * first, it is decided anew on what that has made of the conversation. CONVERSATIONS C 2, C 5
 */
export async function commit(
  desk: Desk,
  conversation: ConversationId,
  planning: Planning,
  { signal }: Wait,
): Promise<'done' | 'unneeded'> {
  for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
    await arrival(desk, async () => (await look(desk).pending(conversation)) === undefined, { signal })
    const submitted = await submit(desk, conversation, planning, { signal })
    if (submitted === 'unneeded') return 'unneeded'
    if (submitted === 'busy') continue
    const outcome = await orAborted(submitted.outcome, signal)
    if (outcome.kind === 'accepted') {
      if (await takesEffect(desk, conversation, submitted.place, signal)) return 'done'
      continue
    }
    if (outcome.error.retry !== 'changed') throw outcome.error
    await catchUp(desk, conversation, outcome.error.current, signal)
  }
  throw new ClientError('contested', `${limits.commitAttempts} commits of others came first`)
}

/** Waits until the conversation is where the server says that it is, or this device has no place in it. */
async function catchUp(desk: Desk, conversation: ConversationId, current: Current, signal: AbortSignal): Promise<void> {
  if (current.kind !== 'epoch') return
  const { generation, epoch } = current.body
  const isThere = async (): Promise<boolean> => {
    const row = await rowOf(desk, conversation)
    if (row === undefined || row.standing.kind !== 'active') return true
    return row.generation > generation || (row.generation === generation && row.epoch >= epoch)
  }
  await arrival(desk, isThere, { signal })
}

async function submit(
  desk: Desk,
  conversation: ConversationId,
  planning: Planning,
  { signal }: Wait,
): Promise<{ place: Place; outcome: Promise<Outcome> } | 'unneeded' | 'busy'> {
  try {
    return await desk.session.submit((place, rows) => draft(look(desk, rows), conversation, { place, planning }), {
      signal,
    })
  } catch (error) {
    if (error instanceof NotStaged) return error.why
    if (error instanceof ConversationError && error.reason === 'forbidden')
      throw new ClientError('forbidden', error.message, { cause: error })
    throw error
  }
}

async function draft(
  work: Work,
  conversation: ConversationId,
  { place, planning }: { place: Place; planning: Planning },
): Promise<Draft> {
  const row = await work.conversation(conversation)
  const state = await work.state(conversation)
  if (row?.standing.kind !== 'active' || state === undefined)
    throw new ClientError('not-a-member', 'this device has no place in the conversation')
  if ((await work.pending(conversation)) !== undefined) throw new NotStaged('busy') // another one was faster
  const plan = await planning({ work, row, state })
  if (plan === undefined) throw new NotStaged('unneeded')
  const lists = await newestLists(work, plan.accounts)
  const staged = await stageCommit(state, work.me.self, plan.wish, { ...place, lists, now: work.nowMs })
  const { pending: advance, epoch, commit, roster, welcomes, groupInfo, tree } = staged
  const { generation } = row
  work.putPending(conversation, { id: place.id, generation, epoch, isRejoin: false, advance })
  return {
    sealed: {
      operation: 'commit',
      request: { conversation, generation, epoch, commit, roster, welcomes, groupInfo, tree },
    },
    changes: work.store.changes,
  }
}

export async function newestLists(work: Work, accounts: readonly AccountId[]): Promise<readonly VerifiedList[]> {
  const lists = await Promise.all(accounts.map((account) => work.tools.lists.newest(work.store, account)))
  return lists.filter((list) => list !== undefined)
}

/** An accepted commit takes effect at its place in the sequence: false if that will not come any more. */
async function takesEffect(
  desk: Desk,
  conversation: ConversationId,
  { id }: Place,
  signal: AbortSignal,
): Promise<boolean> {
  const isOver = async (): Promise<boolean> => !(await look(desk).isPending(conversation, { id }))
  await arrival(desk, isOver, { signal })
  const accepted = (await rowOf(desk, conversation))?.accepted
  return accepted === undefined || !sameBytes(accepted.id, id)
}

/** A server that accepts a commit and does not deliver it is not waited for. */
async function arrival(desk: Desk, holds: () => Promise<boolean>, wait: Wait): Promise<void> {
  if (await within(desk, limits.placeMs, holds, wait)) return
  throw new ClientError('lost', 'an accepted change has not come back yet: it takes effect when it does')
}

/** Nothing was staged. Never leaves this file. */
class NotStaged extends Error {
  readonly why: 'unneeded' | 'busy'

  constructor(why: NotStaged['why']) {
    super(why)
    this.why = why
  }
}

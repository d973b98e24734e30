import { type ConversationState, type Purpose, recreate, view } from '@messageu/e2ee/conversation'
import {
  type AccountId,
  type ConversationId,
  RefusedError,
  type ConversationState as ShownState,
} from '@messageu/protocol/v3'
import { beginAlone, isAlone, takePlace } from './beginning.ts'
import { type Comeback, returning } from './comeback.ts'
import type { Desk, Wait } from './desk.ts'
import { gather } from './gathering.ts'
import { messagingLimits as limits } from './limits.ts'
import { write } from './writing.ts'

export interface Renewal {
  readonly before: ConversationState
  /** How often it could have been begun anew since it does not go on. */
  readonly repairs: number
  readonly without?: AccountId | undefined
}

/**
 * Begins a conversation anew that cannot go on: the same accounts in the next generation, but perhaps for the one whose
 * device made a commit that nobody can apply. Of two that do so at once one is first, and brings the other in: what is
 * begun anew is the state that did not go on, whatever there is by now. CONVERSATIONS D 4
 */
export async function renew(
  desk: Desk,
  conversation: ConversationId,
  { before, repairs, without, signal }: Renewal & Wait,
): Promise<void> {
  const { me, lists } = desk.tools
  const list = await lists.newest(desk.store, me.self.account)
  if (list === undefined) return
  const present = await desk.session.request('read-state', { conversation }, { signal })
  const generation = freeGeneration(desk, present, { before, repairs })
  if (generation === undefined) return
  const isGroup = view(before).kind === 'group'
  const options = { generation, ...(isGroup && without !== undefined && { without }) }
  const { state, accounts } = await recreate(before, me.self, list, options)
  for (const account of accounts) await lists.refresh(desk.store, account, { asker: desk.session.asker, signal })
  const { members } = view(before)
  if (!(await claimGeneration(desk, conversation, { accounts, members, present, generation, signal }))) return
  const { sequence } = await desk.session.request('read-state', { conversation }, { signal })
  const row = await write(desk, (work) => takePlace(work, conversation, { state, sequence, awaited: accounts }))
  await gather(desk, row, { signal })
}

/** The generation that this device may begin. Whoever has begun one without bringing anybody in had time for it. */
function freeGeneration(desk: Desk, shown: ShownState, { before, repairs }: Renewal): number | undefined {
  const ahead = shown.generation - view(before).generation
  if (ahead <= 0) return view(before).generation + 1
  if (isAlone(desk, shown)) return shown.generation
  return shown.epoch === 0 && repairs > ahead ? shown.generation + 1 : undefined
}

/** The same for a conversation of which this device has no state: two accounts, or one. */
export async function regenerate(
  desk: Desk,
  conversation: ConversationId,
  { purpose, signal }: Wait & { purpose: Purpose },
): Promise<void> {
  const own = desk.tools.me.self.account
  const accounts = purpose.kind === 'direct' ? [own, purpose.with] : [own]
  for (const account of accounts)
    await desk.tools.lists.refresh(desk.store, account, { asker: desk.session.asker, signal })
  const present = await desk.session.request('read-state', { conversation }, { signal })
  const generation = present.generation + 1
  await claimGeneration(desk, conversation, { accounts, members: [], present, generation, signal })
  const shown = await desk.session.request('read-state', { conversation }, { signal })
  if (isAlone(desk, shown)) await beginAlone(desk, conversation, { purpose, shown })
}

interface Claim extends Comeback {
  readonly generation: number
}

/** True if this device is the one that begins it. A repetition is told apart by who is there. Protocol 3 §6.8 */
async function claimGeneration(desk: Desk, conversation: ConversationId, claim: Wait & Claim): Promise<boolean> {
  const { present, generation, signal } = claim
  if (generation - present.generation > limits.generationsBehindMax) return false
  const roster = await returning(desk, claim)
  try {
    // a server that was restored may be some generations behind: it takes one after the other
    for (let next = Math.min(present.generation + 1, generation); next <= generation; next++)
      await desk.session.request('recreate', { conversation, generation: next, roster }, { signal })
    return true
  } catch (error) {
    if (!(error instanceof RefusedError) || error.reason !== 'stale-generation') throw error
    const shown = await desk.session.request('read-state', { conversation }, { signal })
    return shown.generation === generation && isAlone(desk, shown)
  }
}

import { type ConversationState, type Purpose, recreate, view } from '@messageu/e2ee/conversation'
import { type AccountId, type ConversationId, type DeviceId, RefusedError } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { beginAlone, isAlone, takePlace } from './beginning.ts'
import { bringIn } from './bringing.ts'
import { newestLists } from './commits-out.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { write } from './writing.ts'

/**
 * Begins a conversation anew that cannot go on: the same accounts in the next generation, but perhaps for the one whose
 * device made a commit that nobody can apply. Of two that do so at once one is first, and brings the other in: what is
 * begun anew is the state that did not go on, whatever there is by now. CONVERSATIONS D 4
 */
export async function renew(
  desk: Desk,
  conversation: ConversationId,
  { before, without, signal }: Wait & { before: ConversationState; without?: AccountId | undefined },
): Promise<void> {
  const { me, lists } = desk.tools
  const list = await lists.newest(desk.store, me.self.account)
  if (list === undefined) return
  const isGroup = view(before).kind === 'group'
  const { state, accounts } = await recreate(before, me.self, list, isGroup && without !== undefined ? { without } : {})
  for (const account of accounts) await lists.refresh(desk.store, account, { asker: desk.session.asker, signal })
  if (!(await claimGeneration(desk, conversation, { accounts, generation: view(state).generation, signal }))) return
  const { sequence } = await desk.session.request('read-state', { conversation }, { signal })
  await write(desk, (work) => takePlace(work, conversation, { state, sequence }))
  await bringIn(desk, conversation, accounts, { signal })
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
  const { generation } = await desk.session.request('read-state', { conversation }, { signal })
  await claimGeneration(desk, conversation, { accounts, generation: generation + 1, signal })
  const shown = await desk.session.request('read-state', { conversation }, { signal })
  if (isAlone(desk, shown)) await beginAlone(desk, conversation, { purpose, shown })
}

/** True if this device is the one that begins it. A repetition is told apart by who is there. Protocol 3 §6.8 */
async function claimGeneration(
  desk: Desk,
  conversation: ConversationId,
  { accounts, generation, signal }: Wait & { accounts: readonly AccountId[]; generation: number },
): Promise<boolean> {
  const roster = await devicesOf(desk, accounts)
  try {
    await desk.session.request('recreate', { conversation, generation, roster }, { signal })
    return true
  } catch (error) {
    if (!(error instanceof RefusedError) || error.reason !== 'stale-generation') throw error
    const shown = await desk.session.request('read-state', { conversation }, { signal })
    return shown.generation === generation && isAlone(desk, shown)
  }
}

/** Every listed device of these accounts, this one first. */
async function devicesOf(desk: Desk, accounts: readonly AccountId[]): Promise<readonly DeviceId[]> {
  const { device } = desk.tools.me.self
  const lists = await newestLists(look(desk), accounts)
  const all = lists.flatMap(({ devices }) => devices.map((listed) => listed.device))
  return [device, ...all.filter((each) => !sameBytes(each, device))]
}

import type { Applied } from '@messageu/e2ee/conversation'
import type { ConversationId } from '@messageu/protocol/v3'
import { commit } from './commits-out.ts'
import type { Desk, Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import type { ConversationRow } from './rows.ts'

/** New keys for the own leaf. CONVERSATIONS D 5 */
export async function update(desk: Desk, conversation: ConversationId, wait: Wait): Promise<void> {
  await commit(desk, conversation, async () => ({ wish: { kind: 'update' }, accounts: [] }), wait)
}

/** Whether the keys of the own leaf are to be replaced before one more message. CONVERSATIONS D 5 */
export function isUpdateDue(
  { updatedAt }: ConversationRow,
  { sinceUpdate, nowMs }: { sinceUpdate: number; nowMs: number },
): boolean {
  return sinceUpdate >= limits.messagesPerUpdate || nowMs - updatedAt > limits.updateMs
}

/** Commits without a path, which the engine makes of Adds and of rules, leave the keys of the own leaf as they were. */
export function bringsKeys(change: Extract<Applied, { kind: 'applied' }>['change']): boolean {
  return change === 'update' || change === 'remove' || change === 'rejoin'
}

import { type ConversationId, RefusedError } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import { rejoin } from './rejoining.ts'
import { regenerate, renew } from './renewing.ts'
import type { ConversationRow } from './rows.ts'

/**
 * One attempt to get this device its place again: by rejoining; and once that has failed for too long, by beginning the
 * conversation anew. CONVERSATIONS D 4
 */
export async function mend(desk: Desk, conversation: ConversationId, wait: Wait): Promise<void> {
  const row = await rowOf(desk, conversation)
  if (row === undefined || (row.standing.kind !== 'stuck' && row.standing.kind !== 'waiting')) return
  if (row.standing.kind === 'stuck') await report(desk, row, row.standing.body.epoch, wait)
  if ((await rejoin(desk, conversation, wait)) === 'done') return
  if (row.standing.kind !== 'stuck') {
    // among one's own devices nobody else can bring this one back
    if (row.kind === 'own-devices' || row.kind === 'self')
      await regenerate(desk, conversation, { purpose: { kind: row.kind }, ...wait })
    return
  }
  const { since, by } = row.standing.body
  if (desk.clock.nowMs() - since < (desk.tools.repairMs ?? limits.repairMs)) return
  const isOwn = by !== undefined && sameBytes(by, desk.tools.me.self.account)
  await renew(desk, conversation, { without: isOwn ? undefined : by, ...wait })
}

async function report(
  desk: Desk,
  { conversation, generation }: ConversationRow,
  epoch: number,
  { signal }: Wait,
): Promise<void> {
  try {
    await desk.session.request('stuck', { conversation, generation, epoch }, { signal })
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error // it was said a moment ago, or things have moved on
  }
}

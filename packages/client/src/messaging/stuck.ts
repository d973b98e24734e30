import type { AccountId } from '@messageu/protocol/v3'
import { messagingLimits as limits } from './limits.ts'
import type { ConversationRow } from './rows.ts'
import type { Work } from './work.ts'

/**
 * It is told once; the device reports it and looks for its way back. One that has not been accepted keeps silent until it
 * is. CONVERSATIONS C 11, D 4
 */
export async function getStuck(
  work: Work,
  row: ConversationRow,
  { epoch, why, by }: { epoch: number; why: string; by?: AccountId | undefined },
): Promise<ConversationRow> {
  const { conversation, standing, accepted } = row
  if (accepted !== undefined) await work.forgetPending(conversation, accepted) // this is behind where it had its place
  if (standing.kind !== 'active' && standing.kind !== 'request') return row
  const words = why.slice(0, limits.wordsBytesMax / 4)
  const body = { since: work.nowMs, epoch, by, why: words }
  const request = standing.kind === 'request' && { ...standing.body, stuck: standing.body.stuck ?? body }
  const next: ConversationRow = {
    ...row,
    epoch: Math.max(row.epoch, epoch),
    standing: request ? { kind: 'request', body: request } : { kind: 'stuck', body },
  }
  work.put(next)
  if (request) return next
  work.tools.touched(conversation)
  await work.tell({ kind: 'stuck', body: { conversation, by, why: words } })
  return next
}

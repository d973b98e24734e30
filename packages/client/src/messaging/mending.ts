import { type ConversationId, RefusedError } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import { rejoin } from './rejoining.ts'
import { regenerate, renew } from './renewing.ts'
import type { ConversationRow } from './rows.ts'
import { write } from './writing.ts'

/**
 * One attempt to get this device its place again: by rejoining; and once that has failed for too long, by beginning the
 * conversation anew. CONVERSATIONS D 4
 */
export async function mend(desk: Desk, conversation: ConversationId, wait: Wait): Promise<void> {
  const row = await rowOf(desk, conversation)
  if (row === undefined || (row.standing.kind !== 'stuck' && row.standing.kind !== 'waiting')) return
  const before = await look(desk).state(conversation)
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
  // somebody else may have begun it anew meanwhile, and brought this device in
  const now = await rowOf(desk, conversation)
  if (now?.standing.kind !== 'stuck' || now.generation !== row.generation) return
  const isOwn = by !== undefined && sameBytes(by, desk.tools.me.self.account)
  if (before !== undefined) await renew(desk, conversation, { before, without: isOwn ? undefined : by, ...wait })
}

/**
 * After the server was restored: a conversation of which it has lost commits cannot go on, and is begun anew at once.
 * CONVERSATIONS C 7
 */
export async function compareEpoch(desk: Desk, conversation: ConversationId, { signal }: Wait): Promise<void> {
  const shown = await desk.session.request('read-state', { conversation }, { signal })
  await write(desk, async (work) => {
    const row = await work.conversation(conversation)
    if (row === undefined || !row.isDoubted) return
    const hasLost =
      shown.generation < row.generation || (shown.generation === row.generation && shown.epoch < row.epoch)
    const body = { since: 0, epoch: row.epoch, by: undefined, why: 'the server has lost commits' }
    const standing = hasLost && row.standing.kind === 'active' ? ({ kind: 'stuck', body } as const) : row.standing
    work.put({ ...row, standing, isDoubted: false })
    if (standing !== row.standing)
      await work.tell({ kind: 'stuck', body: { conversation, by: undefined, why: body.why } })
  })
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

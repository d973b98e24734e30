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
  const repairs = repairsDue(desk, row.standing.body)
  // somebody else may have begun it anew meanwhile, and brought this device in
  const now = await rowOf(desk, conversation)
  if (repairs < 1 || now?.standing.kind !== 'stuck' || now.generation !== row.generation) return
  const { by } = row.standing.body
  const isOwn = by !== undefined && sameBytes(by, desk.tools.me.self.account)
  if (before !== undefined)
    await renew(desk, conversation, { before, repairs, without: isOwn ? undefined : by, ...wait })
}

/** How often the conversation could have been begun anew since then. */
function repairsDue(desk: Desk, { since }: { since: number }): number {
  return Math.floor((desk.clock.nowMs() - since) / repairMs(desk))
}

/** Milliseconds until the conversation may be begun anew; nothing if it may be, or need not. */
export function mayRenewInMs(desk: Desk, { standing }: ConversationRow): number | undefined {
  if (standing.kind !== 'stuck') return undefined
  const leftMs = standing.body.since + repairMs(desk) - desk.clock.nowMs()
  return leftMs > 0 ? leftMs : undefined
}

function repairMs({ tools }: Desk): number {
  return tools.repairMs ?? limits.repairMs
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
    const since = work.nowMs - repairMs(desk)
    const body = { since, epoch: row.epoch, by: undefined, why: 'the server has lost commits' }
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

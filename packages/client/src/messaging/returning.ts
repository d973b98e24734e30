import { limits as protocol } from '@messageu/protocol/v3'
import { getRow, progressKeys, putRow, rowsOf } from '../rows.ts'
import type { Desk, Wait } from './desk.ts'
import { discoverMissed } from './discovering.ts'
import { messagingLimits as limits } from './limits.ts'
import { conversationRow, doubtful, openedRow } from './rows.ts'
import { within } from './within.ts'
import type { Work } from './work.ts'
import { write } from './writing.ts'

/**
 * A session is open. Whoever had none for as long as the server keeps what waits may have missed what nothing that comes
 * will tell: each conversation is compared with what the server has, and those are looked for that it does
 * not know. CONVERSATIONS C 10
 */
export async function comeBack(desk: Desk, wait: Wait): Promise<void> {
  const at = desk.clock.nowMs()
  const before = await getRow(desk.store, openedRow, progressKeys.opened)
  if (before !== undefined && Math.abs(at - before.at) < limits.openedEveryMs) return
  const isLate = before !== undefined && at - before.at >= protocol.retentionMs
  if (isLate) {
    await write(desk, doubtAll)
    // what still waits may bring this device in: only then is anything missing
    if (!(await within(desk, limits.caughtUpMs, desk.isCaughtUp, wait))) return // the next session asks again
    await discoverMissed(desk, wait)
  }
  await write(desk, async ({ store }) => store.put(putRow(openedRow, progressKeys.opened, { at })))
}

async function doubtAll(work: Work): Promise<void> {
  for await (const { row } of rowsOf(work.store, conversationRow)) {
    const known = await work.conversation(row.conversation)
    const kind = known?.standing.kind
    if (known !== undefined && (kind === 'active' || kind === 'request')) work.put(doubtful(known))
  }
}

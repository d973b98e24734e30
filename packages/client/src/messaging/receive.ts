import type { Delivery } from '@messageu/protocol/v3'
import type { Asker } from '../asker.ts'
import type { Receiver, Reopened } from '../inbox.ts'
import { rowsOf } from '../rows.ts'
import type { Change, RowStore } from '../store.ts'
import { isAnnounced } from './announcing.ts'
import { takeCommit } from './commits-in.ts'
import { countedAnew } from './counts.ts'
import { isInside, missing, without } from './gaps.ts'
import { messagingLimits as limits } from './limits.ts'
import { takeMessage } from './messages-in.ts'
import { noteForgottenPackages } from './packages.ts'
import { type ConversationRow, conversationRow, doubted } from './rows.ts'
import { noteForgottenVerdicts } from './verdicts.ts'
import { takeWelcome } from './welcomes-in.ts'
import { type Tools, Work } from './work.ts'

/**
 * Opens what the server delivers, one after the other, and says what is to be stored of it: in one step with the place up
 * to which it was received. Nothing that is in a delivery ends this: what cannot be taken is kept as what it is.
 * CONVERSATIONS C 9
 */
export function receiverOf(tools: Tools): Receiver {
  return {
    async receive(deliveries: readonly Delivery[], asker: Asker, rows: RowStore): Promise<readonly Change[]> {
      const work = new Work(rows, tools)
      for (const delivery of deliveries) await take(work, delivery, asker)
      return work.store.changes
    },
    async restored(rows: RowStore, opened: Reopened): Promise<readonly Change[]> {
      const work = new Work(rows, tools)
      for await (const { row } of rowsOf(work.store, conversationRow)) countAnew(work, row, opened)
      await noteForgottenVerdicts(work, opened)
      await noteForgottenPackages(work)
      await work.tell({ kind: 'restored', body: undefined })
      return work.store.changes
    },
  }
}

/** Sequences begin anew, behind everything that is in the history. CONVERSATIONS C 7 */
function countAnew(work: Work, row: ConversationRow, { incarnation, sendNumber }: Reopened): void {
  const { transcript, ownTitle } = row
  const isTitleLost = ownTitle !== undefined && (ownTitle.isLost || ownTitle.number > sendNumber)
  const seen = { ...transcript.seen, sequence: 0 }
  work.put({
    ...countedAnew(row, incarnation),
    received: 0,
    gaps: [],
    ...(isTitleLost && { ownTitle: { ...ownTitle, isLost: true } }),
    restoredEpoch: row.epoch,
    transcript: { seen, ahead: [], recent: [] },
    doubt: doubted,
  })
  work.tools.touched(row.conversation)
}

async function take(work: Work, delivery: Delivery, asker: Asker): Promise<void> {
  const row = await work.conversation(delivery.conversation)
  if (delivery.kind === 'welcome') return takeWelcome(work, delivery, row, asker)
  if (row === undefined) return // no Welcome came before it: nobody has brought this device in
  const { sequence } = delivery
  if (row.base + sequence >= limits.historyMax) return // no honest server has counted that far
  const isLate = sequence <= row.received
  if (isLate && !isInside(row.gaps, sequence)) return // the server repeats itself under a new position
  if (delivery.kind === 'application' && isAnnounced(row) && row.standing.body.held >= limits.announcedItemsMax) return // it is a gap once the conversation is proved
  const passed = isLate
    ? { ...row, gaps: without(row.gaps, sequence) }
    : withGap({ ...row, received: sequence }, { before: row.received, nowMs: work.nowMs })
  if (passed.gaps !== row.gaps) work.tools.touched(row.conversation)
  await (delivery.kind === 'commit'
    ? takeCommit(work, delivery, passed, asker)
    : takeMessage(work, delivery, passed, asker))
}

/** What lies between what was received before and now was not delivered: somebody asks why. Protocol 3 §7.4 */
function withGap(row: ConversationRow, { before, nowMs }: { before: number; nowMs: number }): ConversationRow {
  if (before === 0 || row.standing.kind === 'removed' || row.standing.kind === 'withdrawn') return row
  return missing(row, { from: before + 1, through: row.received - 1, since: nowMs })
}

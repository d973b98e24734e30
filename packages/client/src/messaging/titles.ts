import { readAuthored } from '@messageu/e2ee/conversation'
import { sameBytes } from '../bytes.ts'
import { rowsOf } from '../rows.ts'
import { type ConversationRow, historyRow } from './rows.ts'
import type { Work } from './work.ts'

/**
 * Whether a title at this place of the history is what the conversation is called: titles count in their order, and one's
 * own, and those of the past, are put in their place when others behind them have come.
 */
export async function isNewestTitle(
  work: Work,
  { title, conversation }: ConversationRow,
  place: number,
): Promise<boolean> {
  if (title === undefined) return true
  for await (const { row } of rowsOf(work.store, historyRow, { after: place })) {
    if (!sameBytes(row.conversation, conversation)) return true
    const { entry } = row
    if (entry.kind === 'message' && readAuthored(entry.body.authored).content.kind === 'title') return false
  }
  return true
}

/** Whether something stands behind a title that this device could not open: it may be another one. */
export async function mayBeOlder(work: Work, { conversation }: ConversationRow, place: number): Promise<boolean> {
  for await (const { row } of rowsOf(work.store, historyRow, { after: place })) {
    if (!sameBytes(row.conversation, conversation)) return false
    if (row.entry.kind === 'unopened') return true
  }
  return false
}

import { type Authored, readAuthored } from '@messageu/e2ee/conversation'
import type { AccountId, SendId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { rowsOf } from '../rows.ts'
import type { RowStore } from '../store.ts'
import { type ConversationRow, historyRow } from './rows.ts'
import { historyKey } from './work.ts'

/** A message of the history as its author signed it. */
export async function authoredIn(
  store: Pick<RowStore, 'read'>,
  row: ConversationRow,
  id: SendId,
): Promise<{ readonly account: AccountId; readonly authored: Authored } | undefined> {
  for await (const message of messagesIn(store, row))
    if (sameBytes(readAuthored(message.authored).header.id, id)) return message
  return undefined
}

/** All messages that this device has of a conversation, in their order. */
export async function* messagesIn(
  store: Pick<RowStore, 'read'>,
  row: ConversationRow,
): AsyncGenerator<{ readonly account: AccountId; readonly authored: Authored }> {
  for await (const { key, row: item } of rowsOf(store, historyRow, { after: historyKey(row, 0) })) {
    if (Number(key) > historyKey(row, row.newest)) return
    if (item.entry.kind !== 'message') continue
    const { sender, authored } = item.entry.body
    yield { account: sender.account, authored }
  }
}

import { readRow } from '../rows.ts'
import type { RowStore } from '../store.ts'
import { type ConversationRow, type HistoryRow, historyRow } from './rows.ts'
import { historyKey, placeOfKey } from './work.ts'

/** What is read of the history at a time. */
const pageMax = 256

/**
 * What stands in the history of a conversation up to a place, the newest first, each with its place. Where the server was
 * restored there are stretches without anything: they are passed in strides that double.
 */
export async function* backwards(
  store: Pick<RowStore, 'read'>,
  row: ConversationRow,
  { through = row.newest, page = pageMax }: { through?: number | undefined; page?: number } = {},
): AsyncGenerator<{ readonly place: number; readonly item: HistoryRow }> {
  const limit = Math.min(page, pageMax)
  let stride = limit
  for (let end = Math.min(through, row.newest); end > 0; ) {
    const start = Math.max(0, end - stride)
    const rows = await store.read('history', { after: historyKey(row, start), limit })
    const inside = rows.flatMap(({ key, value }) => {
      const isInside = typeof key === 'number' && key <= historyKey(row, end)
      return isInside ? [{ place: placeOfKey(key), value }] : []
    })
    if (inside.length === limit && stride > limit) {
      stride = Math.max(limit, stride / 2) // there may be more than that
      continue
    }
    for (const { place, value } of inside.reverse()) yield { place, item: readRow(historyRow, value) }
    end = start
    stride = inside.length === 0 ? stride * 2 : limit
  }
}

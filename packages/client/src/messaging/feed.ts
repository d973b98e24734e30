import { getRow, progressKeys, putRow, rowsOf } from '../rows.ts'
import type { Change, RowStore } from '../store.ts'
import { type Counters, countersRow, feedRow, type Told } from './rows.ts'

/** What nobody has been shown yet: a place in the history, or something that has none. */
export type Fed =
  | { readonly kind: 'history'; readonly body: number }
  | { readonly kind: 'told'; readonly body: { at: number; told: Told } }

export async function countersOf(store: Pick<RowStore, 'get'>): Promise<Counters> {
  return (await getRow(store, countersRow, progressKeys.counters)) ?? atFirst
}

const atFirst: Counters = { feed: 1, conversations: 0, lastResortAt: 0, unwelcome: { since: 0, told: 0 } }

export function putCounters(counters: Counters): Change {
  return putRow(countersRow, progressKeys.counters, counters)
}

/** What puts these behind everything that waits to be shown. */
export async function feeding(store: Pick<RowStore, 'get'>, fed: readonly Fed[]): Promise<readonly Change[]> {
  const counters = await countersOf(store)
  const rows = fed.map((each, i) => putRow(feedRow, counters.feed + i, each))
  return [...rows, putCounters({ ...counters, feed: counters.feed + fed.length })]
}

/** Whether a place in the history is still to be shown. */
export async function isWaiting(store: RowStore, place: number): Promise<boolean> {
  for await (const { row } of rowsOf(store, feedRow)) if (row.kind === 'history' && row.body === place) return true
  return false
}

export function telling(store: Pick<RowStore, 'get'>, told: Told, at: number): Promise<readonly Change[]> {
  return feeding(store, [{ kind: 'told', body: { at, told } }])
}

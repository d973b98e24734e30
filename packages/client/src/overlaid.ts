import { type Change, type Key, keyText, type Row, rowName, type Store, type Table, tables } from './store.ts'

type Rows = Pick<Store, 'get' | 'read'>
type Range = { after?: Key | undefined; limit: number }
/** By the name of the row. */
type Changes = ReadonlyMap<string, Change>

/**
 * What `read` of a store will give once these changes are in it; but where keys are bytes, whose order is the store's own,
 * rows that it does not have yet come behind all others.
 */
export async function readOverlaid(store: Rows, changes: Changes, table: Table, range: Range): Promise<readonly Row[]> {
  const own = [...changes.values()].filter((change) => change.table === table)
  if (own.length === 0) return store.read(table, range)
  const enough = range.limit + own.length // each change takes one of the store's rows away at the most
  return tables[table].keys === 'number'
    ? inOrderOfNumbers(store, own, table, { ...range, enough })
    : newOnesLast(store, changes, own, table, { ...range, enough })
}

async function inOrderOfNumbers(
  store: Rows,
  own: readonly Change[],
  table: Table,
  { after, limit, enough }: Range & { enough: number },
): Promise<readonly Row[]> {
  const stored = await store.read(table, { after, limit: enough })
  const rows = new Map(stored.map((row) => [rowName(table, row.key), row]))
  for (const { key, value } of own) {
    if (value === undefined) rows.delete(rowName(table, key))
    else if (isBehind(key, after)) rows.set(rowName(table, key), { key, value })
  }
  return [...rows.values()].sort(inOrder).slice(0, limit)
}

async function newOnesLast(
  store: Rows,
  changes: Changes,
  own: readonly Change[],
  table: Table,
  { after, limit, enough }: Range & { enough: number },
): Promise<readonly Row[]> {
  const isNew = async (key: Key): Promise<boolean> => (await store.get(table, key)) === undefined
  const added: Row[] = []
  for (const { key, value } of own) if (value !== undefined && (await isNew(key))) added.push({ key, value })
  added.sort(inOrder)
  if (after !== undefined && changes.has(rowName(table, after)) && (await isNew(after)))
    return added.filter(({ key }) => isBehind(key, after)).slice(0, limit)
  const stored = await store.read(table, { after, limit: enough })
  const rows = stored.flatMap((row): readonly Row[] => {
    const change = changes.get(rowName(table, row.key))
    if (change === undefined) return [row]
    return change.value === undefined ? [] : [{ key: row.key, value: change.value }]
  })
  return [...rows, ...(stored.length < enough ? added : [])].slice(0, limit)
}

function isBehind(key: Key, after: Key | undefined): boolean {
  return after === undefined || keyText(key) > keyText(after)
}

function inOrder({ key: one }: Row, { key: other }: Row): number {
  return keyText(one) < keyText(other) ? -1 : 1
}

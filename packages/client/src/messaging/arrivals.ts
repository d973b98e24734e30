import { type AccountId, type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { ClientError } from '../errors.ts'
import { dropRow, getRow, rowsOf } from '../rows.ts'
import type { RowStore } from '../store.ts'
import { backwards } from './backwards.ts'
import type { Desk, Kept, look, Wait } from './desk.ts'
import { type Arrival, accountsIn, type Item, itemOf, type Naming, type Somebody } from './items.ts'
import { messagingLimits as limits } from './limits.ts'
import { contactRow, conversationRow, feedRow, historyRow } from './rows.ts'
import { placeOfKey, type Work } from './work.ts'
import { write } from './writing.ts'

interface Waiting {
  readonly key: number
  readonly arrival: Arrival | undefined
}

/**
 * What nobody has been shown yet, as it comes. What was handed out counts as shown when the next is asked for: after a
 * crash before that it comes again, and after that never. Ends when `isOver` says so and nothing is left.
 */
export async function* arrivals(
  desk: Desk,
  { signal, isOver }: Wait & { isOver: () => boolean },
): AsyncGenerator<readonly Arrival[]> {
  for (;;) {
    const waiting = await next(desk, { signal, isOver })
    if (waiting.length === 0) return
    yield waiting.map(({ arrival }) => arrival).filter((arrival) => arrival !== undefined)
    await shown(desk, waiting)
  }
}

/** Nothing if it is over, or the client was closed. */
async function next(desk: Desk, { signal, isOver }: Wait & { isOver: () => boolean }): Promise<readonly Waiting[]> {
  let waiting: readonly Waiting[] = []
  try {
    await desk.bell.until(async () => {
      const isLast = isOver()
      waiting = await nextOf(desk)
      return waiting.length > 0 || isLast
    }, signal)
  } catch (error) {
    if (desk.bell.hasEnded && !signal.aborted) return []
    throw error
  }
  return waiting
}

async function nextOf({ store, tools }: Desk): Promise<readonly Waiting[]> {
  const found: Waiting[] = []
  for await (const { key, row } of rowsOf(store, feedRow)) {
    if (typeof key !== 'number') continue
    found.push({ key, arrival: await arrivalOf(store, row, tools.me.self.account) })
    if (found.length === limits.arrivalsMax) break
  }
  return found
}

async function arrivalOf(
  store: Pick<RowStore, 'get'>,
  fed: Parameters<(typeof feedRow)['codec']['write']>[1],
  own: AccountId,
): Promise<Arrival | undefined> {
  if (fed.kind === 'history') {
    const row = await getRow(store, historyRow, fed.body)
    return row && itemIn(store, { place: placeOfKey(fed.body), row }, own)
  }
  const { at, told } = fed.body
  const names = await Promise.all(accountsIn(told).map((account) => somebody(store, account)))
  return { kind: 'told', at, told, names }
}

/** What it is, with the names of whoever it is about. */
async function itemIn(
  store: Pick<RowStore, 'get'>,
  placed: Parameters<typeof itemOf>[0],
  own: AccountId,
): Promise<Item> {
  const names = new Map<string, Somebody>()
  for (const account of accountsOf(placed)) names.set(toBase64url(account), await somebody(store, account))
  const naming: Naming = (account) => names.get(toBase64url(account)) ?? { account, name: '' }
  return itemOf(placed, naming, own)
}

/** Whose list this device has never read has no name. */
export async function somebody(store: Pick<RowStore, 'get'>, account: AccountId): Promise<Somebody> {
  return { account, name: (await getRow(store, contactRow, account))?.name ?? '' }
}

function accountsOf({ row: { entry } }: Parameters<typeof itemOf>[0]): readonly AccountId[] {
  switch (entry.kind) {
    case 'message':
      return [entry.body.sender.account]
    case 'change':
      return [entry.body.by, ...entry.body.arrived, ...entry.body.left].map(({ account }) => account)
    case 'joined':
      return [entry.body.by, ...entry.body.members].map(({ account }) => account)
    case 'unopened':
    case 'gap':
      return []
  }
}

/** Whoever was shown who is in a conversation may write there. CONVERSATIONS D 3 */
async function shown(desk: Desk, waiting: readonly Waiting[]): Promise<void> {
  await write(desk, async (work) => {
    for (const { key, arrival } of waiting) {
      if (arrival?.kind === 'unopened' && (await isHealed(work, key))) continue // it comes again, as what it is
      work.store.put(dropRow(feedRow, key))
      const conversation = arrival && showsMembersOf(arrival)
      const row = conversation && (await work.conversation(conversation))
      if (row?.isUnseen) work.put({ ...row, isUnseen: false })
    }
  })
}

/** Whether what was handed out as unopened can be read since. */
async function isHealed({ store }: Work, key: number): Promise<boolean> {
  const fed = await getRow(store, feedRow, key)
  if (fed?.kind !== 'history') return false
  return (await getRow(store, historyRow, fed.body))?.entry.kind === 'message'
}

/** The conversation that this shows who is in. */
function showsMembersOf(arrival: Arrival): ConversationId | undefined {
  if (arrival.kind === 'joined') return arrival.conversation
  return arrival.kind === 'told' && arrival.told.kind === 'rejoined' ? arrival.told.body.conversation : undefined
}

/** The newest `limit` items of a conversation in front of a place, the oldest first. */
export async function history(
  { store, tools }: Kept,
  conversation: Parameters<ReturnType<typeof look>['conversation']>[0],
  { limit, before }: { limit: number; before?: number | undefined },
): Promise<readonly Item[]> {
  const row = await getRow(store, conversationRow, conversation)
  if (row === undefined) throw new ClientError('unknown-conversation', 'there is no such conversation here')
  if (limit < 1) return []
  const items: Item[] = []
  const through = before === undefined ? undefined : before - 1
  for await (const { place, item } of backwards(store, row, { through, page: limit })) {
    items.push(await itemIn(store, { place, row: item }, tools.me.self.account))
    if (items.length === limit) break
  }
  return items.reverse()
}

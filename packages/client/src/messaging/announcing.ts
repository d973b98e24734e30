import type { ConversationId, ConversationKind } from '@messageu/protocol/v3'
import { compareBytes } from '../bytes.ts'
import { dropRow, rowsOf } from '../rows.ts'
import { unopenedKey } from './errands.ts'
import { messagingLimits as limits } from './limits.ts'
import { type ConversationRow, conversationRow, errandRow, historyRow } from './rows.ts'
import { historyKey, type Work } from './work.ts'

export type Announced = ConversationRow & {
  readonly standing: Extract<ConversationRow['standing'], { kind: 'announced' }>
}

/** Whether nothing but the server's word says that there is such a conversation. */
export function isAnnounced(row: ConversationRow): row is Announced {
  return row.standing.kind === 'announced'
}

/**
 * Remembers a conversation that this device may have a place in, so that it looks for it: silent, and shown to nobody,
 * until a Welcome or a commit proves it. Of so many at a time, the oldest gives way to the newest unless it is to stay; its
 * number is used again, so that a server that makes them up uses up none. S09
 */
export async function announce(
  work: Work,
  conversation: ConversationId,
  { kind, generation, isInsistent }: { kind: ConversationKind; generation: number; isInsistent: boolean },
): Promise<ConversationRow | undefined> {
  const there = await announcedIn(work)
  const isFull = there.length >= limits.announcedMax
  const displaced = isFull && isInsistent ? await oldestAtRest(work, there) : undefined
  if (isFull && displaced === undefined) return undefined
  if (displaced !== undefined) await forgetAnnounced(work, displaced)
  const begun = await work.begin(conversation, { kind, generation, number: displaced?.number })
  const standing = { kind: 'announced', body: { since: work.nowMs, held: 0 } } as const
  const row = { ...begun, standing, silentFrom: 0 }
  work.put(row)
  return row
}

export async function announcedIn({ store }: Pick<Work, 'store'>): Promise<readonly Announced[]> {
  const found: Announced[] = []
  for await (const { row } of rowsOf(store, conversationRow)) if (isAnnounced(row)) found.push(row)
  return found
}

/** One in which this device is just taking its place is not forgotten. */
async function oldestAtRest(work: Work, rows: readonly Announced[]): Promise<Announced | undefined> {
  const byAge = [...rows].sort(
    (one, other) =>
      one.standing.body.since - other.standing.body.since || compareBytes(one.conversation, other.conversation),
  )
  for (const row of byAge) if ((await work.pending(row.conversation)) === undefined) return row
  return undefined
}

/** Nothing is left of it, and nobody was told of it. */
export async function forgetAnnounced(work: Work, row: Announced): Promise<void> {
  work.dropState(row.conversation)
  work.store.put(dropRow(conversationRow, row.conversation))
  const [first, last] = [historyKey(row, 0), historyKey(row, row.newest)]
  const keys: number[] = []
  for await (const { key } of rowsOf(work.store, historyRow, { after: first - 1 })) {
    if (typeof key !== 'number' || key > last) break
    keys.push(key)
  }
  for (const key of keys) work.store.put(dropRow(historyRow, key), dropRow(errandRow, unopenedKey(key)))
}

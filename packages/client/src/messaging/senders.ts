import type { OpenedMessage } from '@messageu/e2ee/conversation'
import { getRow, putRow } from '../rows.ts'
import { messagingLimits as limits } from './limits.ts'
import { type ConversationRow, senderRow } from './rows.ts'
import { senderKey, type Work } from './work.ts'

/**
 * Whether a send of this device came before, or is so old that nobody can tell. Each send has one number, however often
 * it was sealed: a server may hold both what it refused and what was sealed instead. Remembers it. CONVERSATIONS C 6
 */
export async function isRepeated(
  work: Pick<Work, 'store'>,
  { conversation }: Pick<ConversationRow, 'conversation'>,
  { sender, number }: Pick<OpenedMessage, 'sender' | 'number'>,
): Promise<boolean> {
  const key = senderKey(conversation, sender.device)
  const { newest, seen } = (await getRow(work.store, senderRow, key)) ?? { newest: 0, seen: new Uint8Array(bytes) }
  const window = shifted(seen, number - newest)
  const behind = Math.max(0, newest - number)
  if (behind >= limits.seenWindow || hasBit(window, behind)) return true
  window[behind >> 3] = (window[behind >> 3] ?? 0) | (1 << (behind & 7))
  work.store.put(putRow(senderRow, key, { newest: Math.max(newest, number), seen: window }))
  return false
}

const bytes = limits.seenWindow / 8

function hasBit(window: Uint8Array, at: number): boolean {
  return (((window[at >> 3] ?? 0) >> (at & 7)) & 1) === 1
}

/** The window once its newest place is `by` further. */
function shifted(window: Uint8Array, by: number): Uint8Array {
  const next = new Uint8Array(bytes)
  if (by <= 0) next.set(window)
  else
    for (let at = 0; at + by < limits.seenWindow; at++)
      if (hasBit(window, at)) next[(at + by) >> 3] = (next[(at + by) >> 3] ?? 0) | (1 << ((at + by) & 7))
  return next
}

import { view } from '@messageu/e2ee/conversation'
import { type ConversationId, type Opening, RefusedError, type ConversationState as Shown } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import type { ConversationRow } from './rows.ts'
import { write } from './writing.ts'

/**
 * What the server has of a conversation that may have suffered. One that was restored from an older copy may know nothing
 * of it: it is founded there again, under its id, to be begun anew with everybody in it. Nothing where that cannot be:
 * the row says then what has become of it. Where it may have been taken out, what says so comes within a minute, or it has
 * lost its place. CONVERSATIONS C 7, D 4
 */
export async function shownOrFounded(
  desk: Desk,
  row: ConversationRow,
  wait: Wait,
): Promise<Shown | 'nothing' | 'later'> {
  const shown = await read(desk, row.conversation, wait)
  if (!(shown instanceof RefusedError)) return shown
  switch (row.standing.kind) {
    case 'active':
    case 'stuck':
      break
    case 'request': // once it is accepted it is looked at again
    case 'withdrawn':
      return 'nothing'
    case 'announced':
    case 'waiting':
    case 'left':
    case 'removed':
      await settle(desk, row, {})
      return 'nothing'
  }
  if (row.kind === 'own-devices') throw shown // it is there from registration on
  if (await isFounded(desk, row, wait))
    return desk.session.request('read-state', { conversation: row.conversation }, wait)
  const since = row.doubt?.placelessSince
  if (since === undefined) await settle(desk, row, { doubt: { placelessSince: desk.tools.nowMs() } })
  if (since === undefined || Math.abs(desk.tools.nowMs() - since) < limits.placeMs) return 'later'
  await lose(desk, row)
  return 'nothing'
}

async function read(desk: Desk, conversation: ConversationId, wait: Wait): Promise<Shown | RefusedError> {
  try {
    return await desk.session.request('read-state', { conversation }, wait)
  } catch (error) {
    if (error instanceof RefusedError && error.reason === 'not-permitted') return error
    throw error
  }
}

/**
 * Whether this device cannot follow and has no place any more: it was taken out by what it could not apply, or by somebody
 * whom it was not told of. The row says so then; a Welcome brings it back.
 */
export async function hasLostPlace(desk: Desk, row: ConversationRow, wait: Wait): Promise<boolean> {
  if (row.kind !== 'group' || !((await read(desk, row.conversation, wait)) instanceof RefusedError)) return false
  await lose(desk, row)
  return true
}

/** False if others have it under its id, or another one in its place. */
async function isFounded(desk: Desk, { conversation, kind }: ConversationRow, wait: Wait): Promise<boolean> {
  if (kind !== 'group') {
    const target = await targetOf(desk, conversation)
    const opened = await desk.session.request('open', { conversation, target }, wait)
    return sameBytes(opened.conversation, conversation)
  }
  try {
    await desk.session.request('create', { conversation }, wait)
    return true
  } catch (error) {
    if (error instanceof RefusedError && error.reason === 'conversation-exists') return false
    throw error
  }
}

/** Whom a pair is with its state says: the row may have been written before anybody was in it. */
async function targetOf(desk: Desk, conversation: ConversationId): Promise<Opening['target']> {
  const state = await look(desk).state(conversation)
  const own = desk.tools.me.self.account
  const other = state && view(state).invited.find((account) => !sameBytes(account, own))
  return other === undefined ? { kind: 'self', body: undefined } : { kind: 'direct', body: other }
}

/** A group may bring this device back, who has its state until then; of a pair there is only one. */
async function lose(desk: Desk, row: ConversationRow): Promise<void> {
  const since = desk.tools.nowMs()
  if (row.kind === 'group')
    await settle(
      desk,
      row,
      { standing: { kind: 'waiting', body: { since } } },
      'the server knows of no place for this account',
    )
  else await settle(desk, row, { standing: { kind: 'removed', body: { by: undefined } } }, 'the server has another one')
}

async function settle(
  desk: Desk,
  { conversation, standing }: ConversationRow,
  outcome: Partial<ConversationRow>,
  why?: string,
): Promise<void> {
  await write(desk, async (work) => {
    const now = await work.conversation(conversation)
    if (now?.standing.kind !== standing.kind) return
    work.put({ ...now, doubt: undefined, ...outcome })
    if (outcome.standing?.kind === 'removed') work.dropState(conversation)
    work.tools.touched(conversation)
    if (why !== undefined) await work.tell({ kind: 'stuck', body: { conversation, by: undefined, why } })
  })
}

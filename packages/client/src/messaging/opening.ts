import { type Purpose, view } from '@messageu/e2ee/conversation'
import type { AccountId, ConversationId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { beginAlone, isAlone, isHere } from './beginning.ts'
import { acceptByTurning } from './contacts.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { gather } from './gathering.ts'
import { messagingLimits as limits } from './limits.ts'
import { rejoin } from './rejoining.ts'
import { regenerate } from './renewing.ts'
import type { Sending } from './sending.ts'
import { within } from './within.ts'
import { write } from './writing.ts'

/**
 * The conversation with an account, or the one with oneself: this device is in it when this resolves, and so is the other
 * side. Who opens at the same time gets the same one. CONVERSATIONS C 1
 */
export async function openWith(desk: Desk, sending: Sending, account: AccountId, wait: Wait): Promise<ConversationId> {
  const isSelf = sameBytes(account, desk.tools.me.self.account)
  const known = (await look(desk).contact(account))?.direct
  const row = known && (await look(desk).conversation(known))
  if (row?.standing.kind === 'active') {
    if (!(await isThere(desk, row.conversation, account))) await bringOthers(desk, row.conversation, account, wait)
    return row.conversation
  }
  if (row?.standing.kind === 'request')
    throw new ClientError('not-accepted', 'they have asked first, and wait for an answer')
  const target = isSelf ? ({ kind: 'self', body: undefined } as const) : ({ kind: 'direct', body: account } as const)
  const { conversation, generation } = await desk.session.open(target, wait)
  const purpose: Purpose = isSelf ? { kind: 'self' } : { kind: 'direct', with: account }
  await enterOpened(desk, { conversation, generation, purpose }, wait)
  await acceptByTurning(desk, sending, account, wait)
  await remember(desk, account, conversation)
  await bringOthers(desk, conversation, account, wait)
  return conversation
}

/** Where this account has refused and left, it takes part again before anybody is told that they may write. */
export async function reopen(desk: Desk, sending: Sending, account: AccountId, wait: Wait): Promise<void> {
  const direct = (await look(desk).contact(account))?.direct
  const row = direct && (await rowOf(desk, direct))
  if (row?.standing.kind === 'left') await openWith(desk, sending, account, wait)
}

/** Whoever was interrupted before the other side was in, or whose other side has left, is alone there. */
async function isThere(desk: Desk, conversation: ConversationId, account: AccountId): Promise<boolean> {
  const state = await look(desk).state(conversation)
  return state !== undefined && view(state).lists.some((each) => sameBytes(each.account, account))
}

async function bringOthers(desk: Desk, conversation: ConversationId, account: AccountId, wait: Wait): Promise<void> {
  const own = desk.tools.me.self.account
  const awaited = sameBytes(account, own) ? [own] : [account, own]
  const row = await rowOf(desk, conversation)
  if (row !== undefined) await gather(desk, { ...row, awaited }, wait)
}

async function remember(desk: Desk, account: AccountId, conversation: ConversationId): Promise<void> {
  const isSelf = sameBytes(account, desk.tools.me.self.account)
  await desk.tools.lists.refresh(desk.store, account, { asker: desk.session.asker, signal: never })
  await write(desk, async (work) => {
    const contact = await work.contact(account)
    const row = await work.conversation(conversation)
    if (contact !== undefined) work.putContact({ ...contact, direct: conversation })
    if (row !== undefined && !isSelf) work.put({ ...row, peer: account })
  })
}

/** A place in a conversation that was opened, by whichever way there is. */
export async function enterOpened(
  desk: Desk,
  { conversation, generation, purpose }: { conversation: ConversationId; generation: number; purpose: Purpose },
  { signal }: Wait,
): Promise<void> {
  if (await isHere(desk, conversation, generation)) return
  const shown = await desk.session.request('read-state', { conversation }, { signal })
  if (isAlone(desk, shown)) return void (await beginAlone(desk, conversation, { purpose, shown }))
  // whoever has opened it is bringing this device in, or has given up
  const hasLeft = (await rowOf(desk, conversation))?.standing.kind === 'left' // then nobody brings it in
  if (!hasLeft && (await isBroughtIn(desk, conversation, { signal }))) return
  if (shown.epoch > 0 && (await rejoin(desk, conversation, { signal })) === 'done') return
  await regenerate(desk, conversation, { purpose, signal })
}

function isBroughtIn(desk: Desk, conversation: ConversationId, wait: Wait): Promise<boolean> {
  const isHere = async (): Promise<boolean> => (await look(desk).conversation(conversation))?.standing.kind === 'active'
  return within(desk, limits.openingMs, isHere, wait)
}

const never = new AbortController().signal

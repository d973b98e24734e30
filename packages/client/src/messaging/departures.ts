import { view } from '@messageu/e2ee/conversation'
import type { AccountId, ConversationId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { dropRow, getRow, putRow, rowsOf } from '../rows.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { stands, type Word } from './duties.ts'
import { errandKey } from './errands.ts'
import { errandRow } from './rows.ts'
import type { Work } from './work.ts'
import { write } from './writing.ts'

/** Who has said that they leave this conversation, and is not known to be out. */
export async function departuresFrom(desk: Desk, conversation: ConversationId): Promise<readonly Word[]> {
  const found: Word[] = []
  for await (const { row } of rowsOf(desk.store, errandRow))
    if (row.kind === 'departure' && sameBytes(row.body.conversation, conversation)) found.push(row.body)
  return found
}

export function keepDeparture(work: Work, word: Word & { readonly conversation: ConversationId }): void {
  const key = errandKey('departure', word.conversation, word.account)
  work.store.put(putRow(errandRow, key, { kind: 'departure', body: word }))
}

/** Those that have been seen to: whoever took the account out. */
export async function forgetDepartures(desk: Desk, conversation: ConversationId): Promise<void> {
  const state = await look(desk).state(conversation)
  const over = (await departuresFrom(desk, conversation)).filter(
    (word) => state === undefined || !stands(view(state), word),
  )
  if (over.length > 0)
    await write(desk, async (work) => {
      for (const { account } of over) dropDeparture(work, conversation, account)
    })
}

function dropDeparture(work: Work, conversation: ConversationId, account: AccountId): void {
  work.store.put(dropRow(errandRow, errandKey('departure', conversation, account)))
}

/** This device has no place any more because its account has left. */
export async function giveUpPlace(work: Work, conversation: ConversationId): Promise<void> {
  const row = await work.conversation(conversation)
  if (row === undefined) return
  work.dropState(conversation)
  work.put({ ...row, standing: { kind: 'left', body: undefined } })
}

/** A sibling has said in the conversation that the account leaves: the server hears it too. */
export async function confirmLeaving(desk: Desk, conversation: ConversationId, wait: Wait): Promise<void> {
  const { account } = desk.tools.me.self
  if ((await getRow(desk.store, errandRow, errandKey('departure', conversation, account))) === undefined) return
  await desk.session.request('leave', { conversation }, wait)
  await write(desk, async (work) => dropDeparture(work, conversation, account))
}

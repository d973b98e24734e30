import type { AccountId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { dropRow, nextSendNumber, rowsOf } from '../rows.ts'
import { type Fed, feeding } from './feed.ts'
import { type ContactRow, type ConversationRow, conversationRow, feedRow, historyRow, type Told } from './rows.ts'
import { historyKey, type Work } from './work.ts'

/** Who has brought this device into a conversation that the user has not decided about, even if it is over. */
export function requesterOf({ standing }: ConversationRow): AccountId | undefined {
  return standing.kind === 'request' || standing.kind === 'withdrawn' ? standing.body.by : undefined
}

/** What an account has brought this device into without being known. */
export async function requestsBy(work: Work, account: AccountId): Promise<readonly ConversationRow[]> {
  const found: ConversationRow[] = []
  for await (const { row } of rowsOf(work.store, conversationRow)) {
    const by = requesterOf(row)
    if (by !== undefined && sameBytes(by, account)) found.push(row)
  }
  return found
}

/** It is silent no more: what has come since it was is shown. */
export async function reveal(work: Work, row: ConversationRow): Promise<ConversationRow> {
  const { silentFrom, newest } = row
  if (silentFrom === undefined) return row
  const [first, last] = [historyKey(row, silentFrom), historyKey(row, newest)]
  const fed: Fed[] = []
  for await (const { key } of rowsOf(work.store, historyRow, { after: first - 1 })) {
    if (typeof key !== 'number' || key > last) break
    fed.push({ kind: 'history', body: key })
  }
  const shown = { ...row, silentFrom: undefined }
  work.put(shown)
  work.store.put(...(await feeding(work.store, fed)))
  return shown
}

/** The user has decided about an account: whoever has not read yet that it asks need not read it any more. */
async function withdraw(work: Work, isMeant: (request: Asking) => boolean): Promise<void> {
  for await (const { key, row } of rowsOf(work.store, feedRow)) {
    if (row.kind !== 'told' || row.body.told.kind !== 'request' || typeof key !== 'number') continue
    if (isMeant(row.body.told.body)) work.store.put(dropRow(feedRow, key))
  }
}

type Asking = Extract<Told, { kind: 'request' }>['body']

/** The account stands like this from now on; who is accepted was never silent. */
export async function decide(work: Work, contact: ContactRow, standing: ContactRow['standing']): Promise<void> {
  const { account } = contact
  work.putContact({ ...contact, standing })
  await withdraw(work, (request) => sameBytes(request.account, account))
  if (standing === 'accepted') for (const asked of await requestsBy(work, account)) await admit(work, asked)
}

/** The user has decided on this device: by which send, tells what a server that was restored has forgotten. */
export async function decideHere(work: Work, contact: ContactRow, standing: ContactRow['standing']): Promise<void> {
  await decide(work, { ...contact, decidedBefore: await nextSendNumber(work.store) }, standing)
}

/** On another of the own devices the user takes part in it. */
export async function takePartAs(work: Work, { conversation, standing }: ConversationRow): Promise<void> {
  if (standing.kind !== 'request') return
  await withdraw(work, (request) => sameBytes(request.conversation, conversation))
  await admit(work, { conversation })
}

/** The user takes part from now on, where there is something left to take part in. */
async function admit(work: Work, { conversation }: Pick<ConversationRow, 'conversation'>): Promise<void> {
  const row = await work.conversation(conversation)
  if (row === undefined) return
  const standing = standingOnceAdmitted(row)
  if (standing === undefined) return
  await reveal(work, { ...row, standing })
  work.tools.touched(conversation)
}

function standingOnceAdmitted({ standing }: ConversationRow): ConversationRow['standing'] | undefined {
  if (standing.kind === 'withdrawn') return { kind: 'removed', body: { by: standing.body.removedBy } }
  if (standing.kind !== 'request') return undefined
  const { stuck } = standing.body
  return stuck === undefined ? { kind: 'active', body: undefined } : { kind: 'stuck', body: stuck }
}

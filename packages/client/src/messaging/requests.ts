import type { AccountId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { dropRow, rowsOf } from '../rows.ts'
import { feeding } from './feed.ts'
import { type ContactRow, type ConversationRow, conversationRow, feedRow, type Told } from './rows.ts'
import { historyKey, type Work } from './work.ts'

/** A stranger may have sent this much at the most. CONVERSATIONS C 11 */
const silentMax = 1_000

/** What an account has brought this device into without being known. */
export async function requestsBy(work: Work, account: AccountId): Promise<readonly ConversationRow[]> {
  const found: ConversationRow[] = []
  for await (const { row } of rowsOf(work.store, conversationRow))
    if (row.standing.kind === 'request' && sameBytes(row.standing.body.by, account)) found.push(row)
  return found
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

/** On another of the own devices the user takes part in it. */
export async function takePartAs(work: Work, { conversation, standing }: ConversationRow): Promise<void> {
  if (standing.kind !== 'request') return
  await withdraw(work, (request) => sameBytes(request.conversation, conversation))
  await admit(work, { conversation })
}

/** The user takes part from now on: what was said while it was a request is shown. */
async function admit(work: Work, { conversation }: Pick<ConversationRow, 'conversation'>): Promise<void> {
  const row = await work.conversation(conversation)
  if (row?.standing.kind !== 'request') return
  const { stuck } = row.standing.body
  work.put({
    ...row,
    standing: stuck === undefined ? { kind: 'active', body: undefined } : { kind: 'stuck', body: stuck },
  })
  work.tools.touched(conversation)
  const silent = await work.store.read('history', { after: historyKey(row, 0), limit: silentMax })
  const keys = silent.map(({ key }) => Number(key)).filter((key) => key <= historyKey(row, row.newest))
  const fed = keys.map((key) => ({ kind: 'history', body: key }) as const)
  work.store.put(...(await feeding(work.store, fed)))
}

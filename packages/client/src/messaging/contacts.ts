import { type SafetyNumber, safetyNumber } from '@messageu/e2ee'
import type { AccountId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { rowsOf } from '../rows.ts'
import type { RequestOf } from '../wire.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { feeding } from './feed.ts'
import { amongOwn } from './managing.ts'
import { type ConversationRow, conversationRow } from './rows.ts'
import type { Sending } from './sending.ts'
import { historyKey } from './work.ts'
import { write } from './writing.ts'

type Verdict = RequestOf<'judge'>['verdict']

/** What the user decides about an account: at the server, here, and on the own devices. CONVERSATIONS C 11 */
export async function judge(
  desk: Desk,
  sending: Sending,
  { account, verdict }: { account: AccountId; verdict: Verdict },
  wait: Wait,
): Promise<void> {
  await desk.session.judge(account, verdict, wait)
  await desk.tools.lists.refresh(desk.store, account, { asker: desk.session.asker, signal: wait.signal })
  const standing = standingAfter[verdict]
  await write(desk, async (work) => {
    const contact = await work.contact(account)
    if (contact !== undefined) work.putContact({ ...contact, standing })
  })
  const asked = await requestsOf(desk, account)
  for (const row of asked) await (verdict === 'accept' ? accept(desk, row) : decline(desk, row, wait))
  if (standing !== 'stranger') await share(desk, sending, account, wait)
}

const standingAfter = { accept: 'accepted', refuse: 'refused', block: 'blocked', unblock: 'stranger' } as const

/** The safety number with an account, and whether the user has compared it. CONVERSATIONS A 6 */
export async function safetyWith(
  desk: Desk,
  account: AccountId,
  { signal }: Wait,
): Promise<SafetyNumber & { readonly isVerified: boolean; readonly isConfirmed: boolean }> {
  const { lists, me } = desk.tools
  const { asker } = desk.session
  const theirs = await lists.refresh(desk.store, account, { asker, signal })
  const own = await lists.refresh(desk.store, me.self.account, { asker, signal })
  const contact = await look(desk).contact(account)
  const isVerified = contact?.verified !== undefined && sameBytes(contact.verified, theirs.accountKey)
  return { ...safetyNumber(own, theirs), isVerified, isConfirmed: (contact?.confirmed ?? 0) > 0 || isVerified }
}

/** The users have compared: from now on the account key of this account is known to be theirs. */
export async function markVerified(desk: Desk, sending: Sending, account: AccountId, wait: Wait): Promise<void> {
  const theirs = await desk.tools.lists.refresh(desk.store, account, { asker: desk.session.asker, signal: wait.signal })
  await write(desk, async (work) => {
    const contact = await work.contact(account)
    if (contact !== undefined) work.putContact({ ...contact, verified: theirs.accountKey })
  })
  await share(desk, sending, account, wait)
}

/** What was said while it was a request is shown now. */
async function accept(desk: Desk, { conversation }: ConversationRow): Promise<void> {
  await write(desk, async (work) => {
    const row = await work.conversation(conversation)
    if (row?.standing.kind !== 'request') return
    work.put({ ...row, standing: { kind: 'active', body: undefined } })
    work.tools.touched(conversation)
    const silent = await desk.store.read('history', { after: historyKey(row, 0), limit: silentMax })
    const keys = silent
      .map(({ key }) => key)
      .filter((key) => typeof key === 'number' && key <= historyKey(row, row.newest))
    work.store.put(
      ...(await feeding(
        work.store,
        keys.map((key) => ({ kind: 'history', body: Number(key) }) as const),
      )),
    )
  })
}

/** A stranger may have sent this much at the most. CONVERSATIONS C 11 */
const silentMax = 1_000

async function decline(desk: Desk, { conversation }: ConversationRow, wait: Wait): Promise<void> {
  await desk.session.request('leave', { conversation }, wait)
  await write(desk, async (work) => {
    const row = await work.conversation(conversation)
    if (row === undefined) return
    work.dropState(conversation)
    work.put({ ...row, standing: { kind: 'left', body: undefined } })
  })
}

async function requestsOf(desk: Desk, account: AccountId): Promise<readonly ConversationRow[]> {
  const found: ConversationRow[] = []
  for await (const { row } of rowsOf(desk.store, conversationRow))
    if (row.standing.kind === 'request' && sameBytes(row.standing.body.by, account)) found.push(row)
  return found
}

/** The own devices hear of it. */
async function share(desk: Desk, sending: Sending, account: AccountId, wait: Wait): Promise<void> {
  const among = await amongOwn(desk)
  const contact = await look(desk).contact(account)
  if (among === undefined || contact === undefined || contact.standing === 'stranger') return
  const { standing, verified } = contact
  await sending.post(among, { kind: 'contact', body: { account, standing, verified } }, wait)
}

import { type SafetyNumber, safetyNumber } from '@messageu/e2ee'
import { type AccountId, accountName, type ContactRequest } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { getRow, listRow, rowsOf } from '../rows.ts'
import type { RequestOf } from '../wire.ts'
import { giveUpPlace } from './departures.ts'
import { type Desk, type Kept, look, type Wait } from './desk.ts'
import { amongOwn, hasSiblings } from './managing.ts'
import { decideHere, requesterOf, requestsBy } from './requests.ts'
import { type ContactRow, type ConversationRow, conversationRow, historyRow } from './rows.ts'
import type { Sending } from './sending.ts'
import { decisionAbout, noteUntold } from './verdicts.ts'
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
    if (contact !== undefined) await decideHere(work, contact, standing)
  })
  for (const row of await requestsBy(look(desk), account)) await decline(desk, row, wait) // none of who is accepted
  await share(desk, sending, account, wait)
}

/**
 * Who waits to be accepted: at the server, and here. A device that has come back by the words does not know whom the
 * account has accepted, and the server does not ask about them again.
 */
export async function waitingRequests(desk: Desk, wait: Wait): Promise<readonly ContactRequest[]> {
  const waiting = [...(await desk.session.requests(wait))]
  for await (const { row } of rowsOf(desk.store, conversationRow)) {
    const account = requesterOf(row)
    const contact = account && (await look(desk).contact(account))
    if (contact?.standing !== 'stranger' || waiting.some((each) => sameBytes(each.account, contact.account))) continue
    const [first] = await desk.store.read('history', { after: historyKey(row, 0), limit: 1 })
    const begun = first && (await getRow(desk.store, historyRow, first.key))
    const name = accountName(contact.name)
    waiting.push({ account: contact.account, name, conversation: row.conversation, at: begun?.at ?? 0 })
  }
  return waiting
}

const standingAfter = { accept: 'accepted', refuse: 'refused', block: 'blocked', unblock: 'stranger' } as const

/** Whoever sends to somebody, or begins a conversation with them, accepts them: the server takes it like that. Protocol 3 §8 */
export async function acceptByTurning(desk: Desk, sending: Sending, account: AccountId, wait: Wait): Promise<void> {
  if (sameBytes(account, desk.tools.me.self.account)) return
  await desk.tools.lists.refresh(desk.store, account, { asker: desk.session.asker, signal: wait.signal })
  const isNew = await write(desk, async (work) => {
    const contact = await work.contact(account)
    if (contact === undefined || contact.standing === 'accepted' || contact.standing === 'blocked') return false
    await decideHere(work, contact, 'accepted')
    return true
  })
  if (isNew) await share(desk, sending, account, wait)
}

/** Whether the device list of an account is what its owner says, or only what the server says. CONVERSATIONS A 7, S07 */
export interface Confirmation {
  /** Whether its owner has ever named it in a message, or the user has compared its account key. */
  readonly isConfirmed: boolean
  /** Whether that was said of all that is on it now. */
  readonly isNewestConfirmed: boolean
  /** When its owner has last named it, to an hour. */
  readonly confirmedAt: number | undefined
}

/** A safety number, and whether the user has compared it. */
export interface Safety extends SafetyNumber, Confirmation {
  readonly isVerified: boolean
}

/** CONVERSATIONS A 6 */
export async function safetyWith(desk: Desk, account: AccountId, { signal }: Wait): Promise<Safety> {
  const { lists, me } = desk.tools
  const { asker } = desk.session
  const theirs = await lists.refresh(desk.store, account, { asker, signal })
  const own = await lists.refresh(desk.store, me.self.account, { asker, signal })
  const contact = await look(desk).contact(account)
  const isVerified = contact?.verified !== undefined && sameBytes(contact.verified, theirs.accountKey)
  return {
    ...safetyNumber(own, theirs),
    isVerified,
    ...confirmationOf(contact, { isVerified, version: theirs.version }),
  }
}

/** What is known of that without asking the server; nothing of an account whose list was never read. */
export async function confirmation({ store, tools }: Kept, account: AccountId): Promise<Confirmation | undefined> {
  const list = await getRow(store, listRow, account)
  const contact = await look({ store, tools }).contact(account)
  if (list === undefined || contact === undefined) return undefined
  return confirmationOf(contact, { isVerified: contact.verified !== undefined, version: list.version })
}

function confirmationOf(
  contact: ContactRow | undefined,
  { isVerified, version }: { isVerified: boolean; version: number },
): Confirmation {
  const { confirmed = 0, confirmedAt = 0 } = contact ?? {}
  return {
    isConfirmed: confirmed > 0 || isVerified,
    isNewestConfirmed: confirmed >= version,
    confirmedAt: confirmedAt === 0 ? undefined : confirmedAt,
  }
}

/** The users have compared: from now on the account key of this account is known to be theirs. */
export async function markVerified(desk: Desk, sending: Sending, account: AccountId, wait: Wait): Promise<void> {
  const theirs = await desk.tools.lists.refresh(desk.store, account, { asker: desk.session.asker, signal: wait.signal })
  const standing = await write(desk, async (work) => {
    const contact = await work.contact(account)
    if (contact !== undefined) work.putContact({ ...contact, verified: theirs.accountKey })
    return contact?.standing
  })
  if (standing !== 'stranger') await share(desk, sending, account, wait)
}

async function decline(desk: Desk, { conversation, standing }: ConversationRow, wait: Wait): Promise<void> {
  if (standing.kind === 'request') await desk.session.request('leave', { conversation }, wait)
  await write(desk, (work) => giveUpPlace(work, conversation))
}

/** The own devices hear of it: it is stored, and will be sent, or said once this device has its place among them. */
async function share(desk: Desk, sending: Sending, account: AccountId, wait: Wait): Promise<void> {
  const among = await amongOwn(desk)
  const contact = await look(desk).contact(account)
  if (contact === undefined) return
  if (among !== undefined) await sending.post(among, decisionAbout(contact), wait)
  else if (await hasSiblings(desk)) await write(desk, async (work) => noteUntold(work, account))
}

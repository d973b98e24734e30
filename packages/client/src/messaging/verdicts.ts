import type { Content } from '@messageu/e2ee/conversation'
import { type AccountId, RefusedError, type SessionOpened } from '@messageu/protocol/v3'
import { dropRow, nextSendNumber, putRow, rowsOf } from '../rows.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { verdictKey } from './errands.ts'
import { amongOwn, hasSiblings } from './managing.ts'
import { type ContactRow, contactRow, errandRow } from './rows.ts'
import type { Sending } from './sending.ts'
import type { Work } from './work.ts'
import { write } from './writing.ts'

// What the user decides about others on this device is said again where a server that was restored has forgotten it, and where
// the own devices could not be told. CONVERSATIONS C 7

/** What the user has decided about somebody, for the own devices. */
export function decisionAbout({ account, standing, verified }: ContactRow): Content {
  return { kind: 'contact', body: { account, standing, verified } }
}

/** The server or the own devices are to be told. */
export function noteUntold({ store }: Pick<Work, 'store'>, account: AccountId): void {
  store.put(putRow(errandRow, verdictKey(account), { kind: 'verdict', body: account }))
}

/** What was decided before a send that the server knows, it knows. */
export async function noteForgottenVerdicts(
  work: Work,
  { sendNumber }: Pick<SessionOpened, 'sendNumber'>,
): Promise<void> {
  for await (const { row } of rowsOf(work.store, contactRow))
    if (row.decidedBefore > sendNumber) noteUntold(work, row.account)
}

/** To the server and to the own devices. What the user has decided since on another of them has come by then, and stands. */
export async function repeatVerdicts(desk: Desk, sending: Sending, wait: Wait): Promise<void> {
  if (!desk.isCaughtUp()) return
  const forgotten: AccountId[] = []
  for await (const { row } of rowsOf(desk.store, errandRow)) if (row.kind === 'verdict') forgotten.push(row.body)
  for (const account of forgotten) {
    const contact = await look(desk).contact(account)
    if (contact === undefined || contact.decidedBefore === 0) await write(desk, async (work) => drop(work, account))
    else await repeat(desk, sending, contact, wait)
  }
}

async function repeat(desk: Desk, sending: Sending, contact: ContactRow, wait: Wait): Promise<void> {
  const { account, standing } = contact
  await desk.session.judge(account, verdicts[standing], wait).catch(unknown)
  const among = await amongOwn(desk)
  if (among === undefined && (await hasSiblings(desk))) return // once they can be told
  const done = async (work: Work): Promise<void> => {
    const now = await work.contact(account)
    if (now?.standing !== standing || now.decidedBefore !== contact.decidedBefore) throw new Overtaken()
    work.putContact({ ...now, decidedBefore: await nextSendNumber(work.store) })
    drop(work, account)
  }
  try {
    if (among === undefined) await write(desk, done)
    else await sending.post(among, decisionAbout(contact), wait, done)
  } catch (error) {
    if (!(error instanceof Overtaken)) throw error
  }
}

const verdicts = { stranger: 'unblock', accepted: 'accept', refused: 'refuse', blocked: 'block' } as const

/** An account that was made after the copy is not there any more. */
function unknown(error: unknown): void {
  if (!(error instanceof RefusedError) || error.retry !== 'never') throw error
}

function drop({ store }: Work, account: AccountId): void {
  store.put(dropRow(errandRow, verdictKey(account)))
}

/** The user has decided otherwise meanwhile. Never leaves this file. */
class Overtaken extends Error {}

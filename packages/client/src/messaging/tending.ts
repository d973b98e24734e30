import type { VerifiedList } from '@messageu/e2ee'
import { type Departure, type View, view } from '@messageu/e2ee/conversation'
import { type AccountId, type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { dropRow, rowsOf } from '../rows.ts'
import { bringIn } from './bringing.ts'
import { commit } from './commits-out.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { type Duties, dutiesOf } from './duties.ts'
import { errandRow } from './rows.ts'
import type { Work } from './work.ts'
import { write } from './writing.ts'

/** What this conversation wants done, as far as this device knows the lists of its members. */
export async function wanted(desk: Desk, conversation: ConversationId): Promise<Duties> {
  const work = look(desk)
  const state = await work.state(conversation)
  const departures = await departuresOf(desk, conversation)
  return state === undefined ? nothing : dutiesIn(work, view(state), departures)
}

/** Does it, in separate commits. Somebody else may have been faster with any of it. */
export async function perform(desk: Desk, conversation: ConversationId, duties: Duties, wait: Wait): Promise<void> {
  if (duties.delisted.length > 0) await removeDelisted(desk, conversation, duties.delisted, wait)
  if (duties.departed.length > 0) await removeDeparted(desk, conversation, duties.departed, wait)
  if (duties.missing.length > 0) await bringIn(desk, conversation, duties.missing, wait)
}

async function removeDelisted(
  desk: Desk,
  conversation: ConversationId,
  wanted: Duties['delisted'],
  wait: Wait,
): Promise<void> {
  const planning = async ({ state }: { state: Parameters<typeof view>[0] }) => {
    const here = view(state).members.filter(({ device }) => wanted.some((each) => sameBytes(each.device, device)))
    if (here.length === 0) return undefined
    return {
      wish: { kind: 'remove', devices: here.map(({ device }) => device) } as const,
      accounts: distinct(here.map(({ account }) => account)),
    }
  }
  await commit(desk, conversation, planning, wait)
}

async function removeDeparted(
  desk: Desk,
  conversation: ConversationId,
  departed: readonly Departure[],
  wait: Wait,
): Promise<void> {
  const planning = async ({ state }: { state: Parameters<typeof view>[0] }) => {
    const here = view(state).members.filter(({ account }) => departed.some((each) => sameBytes(each.account, account)))
    if (here.length === 0) return undefined
    const departures = departed.filter(({ account }) => here.some((member) => sameBytes(member.account, account)))
    return {
      wish: { kind: 'remove', devices: here.map(({ device }) => device), departures } as const,
      accounts: distinct(here.map(({ account }) => account)),
    }
  }
  await commit(desk, conversation, planning, wait)
  await forgetDepartures(desk, conversation)
}

async function dutiesIn(work: Work, shown: View, departures: readonly Departure[]): Promise<Duties> {
  const newest = new Map<string, VerifiedList>()
  for (const account of [...shown.lists.map((each) => each.account), ...shown.invited]) {
    const list = await work.tools.lists.newest(work.store, account)
    if (list !== undefined) newest.set(toBase64url(account), list)
  }
  return dutiesOf(shown, (account) => newest.get(toBase64url(account)), departures)
}

async function departuresOf(desk: Desk, conversation: ConversationId): Promise<readonly Departure[]> {
  const found: Departure[] = []
  for await (const { row } of rowsOf(desk.store, errandRow))
    if (row.kind === 'departure' && sameBytes(row.body.conversation, conversation)) found.push(row.body)
  return found.map(({ account, device, epoch, signature }) => ({ account, device, epoch, signature }))
}

/** Of accounts that are out: they may come back. */
async function forgetDepartures(desk: Desk, conversation: ConversationId): Promise<void> {
  const state = await look(desk).state(conversation)
  const members = state === undefined ? [] : view(state).members
  const done: Uint8Array[] = []
  for await (const { key, row } of rowsOf(desk.store, errandRow)) {
    if (row.kind !== 'departure' || !sameBytes(row.body.conversation, conversation) || typeof key === 'number') continue
    const { account } = row.body
    if (!members.some((member) => sameBytes(member.account, account))) done.push(key)
  }
  if (done.length > 0)
    await write(desk, async ({ store }) => {
      for (const key of done) store.put(dropRow(errandRow, key))
    })
}

function distinct(accounts: readonly AccountId[]): readonly AccountId[] {
  return accounts.filter((account, i) => accounts.findIndex((each) => sameBytes(each, account)) === i)
}

const nothing: Duties = { delisted: [], departed: [], missing: [] }

import { view } from '@messageu/e2ee/conversation'
import { utf8Encode } from '@messageu/protocol'
import { type AccountId, accountName, type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { alarmError, alarmKey } from '../alarms.ts'
import { isAmong, sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { alarmRow, getRow, pinRow, rowsOf } from '../rows.ts'
import { isAnnounced } from './announcing.ts'
import { somebody } from './arrivals.ts'
import { type Desk, type Kept, look, type Wait } from './desk.ts'
import type { Somebody } from './items.ts'
import { openWith } from './opening.ts'
import { type ConversationRow, conversationRow } from './rows.ts'
import type { Sending } from './sending.ts'

/** A conversation as this device knows it. */
export interface Known {
  readonly conversation: ConversationId
  readonly kind: ConversationRow['kind']
  readonly standing: Exclude<ConversationRow['standing']['kind'], 'announced'>
  readonly title: string | undefined
  /** Whom a direct one is with. */
  readonly peer: Somebody | undefined
  /** Who is there, each account once; empty where this device has no place. */
  readonly members: readonly (Somebody & { readonly isOwner: boolean; readonly devices: number })[]
}

/** How few characters of an id may stand for a conversation. */
const idCharactersMin = 6

/** The account of a name: the one that it stood for when it was first seen. An alarm about the name is an error. */
export async function accountNamed(desk: Desk, name: string, wait: Wait): Promise<AccountId> {
  const wanted = accountName(name)
  const known = await accountKnownAs(desk, wanted)
  if (known !== undefined) return known
  const person = await desk.session.find(wanted, wait)
  if (person === undefined) throw new ClientError('unknown-person', `nobody here is called ${wanted}`)
  return person.account
}

async function accountKnownAs({ store, tools: { me } }: Kept, name: string): Promise<AccountId | undefined> {
  const wanted = accountName(name)
  if (wanted === me.name) return me.self.account
  const pinned = await getRow(store, pinRow, utf8Encode(wanted))
  if (pinned === undefined) return undefined
  const alarm = { kind: 'other-account', name: wanted, account: pinned.account } as const
  if ((await getRow(store, alarmRow, alarmKey(alarm))) !== undefined) throw alarmError(alarm)
  return pinned.account
}

/** The account to compare safety numbers with: where an alarm says that the name stands for another one, that other one. */
export async function accountToCompare(
  desk: Desk,
  name: string,
  wait: Wait,
): Promise<{ account: AccountId; isOtherAccount: boolean }> {
  const wanted = accountName(name)
  for await (const { row } of rowsOf(desk.store, alarmRow))
    if (row.kind === 'other-account' && row.name === wanted) return { account: row.account, isOtherAccount: true }
  return { account: await accountNamed(desk, name, wait), isOtherAccount: false }
}

/**
 * The conversation that WHO stands for, opened if need be: a person's exact name, `me` for notes to oneself, `#TITLE` or
 * `#ID` for a group. A title is what somebody wrote, so it never stands for a person.
 */
export async function conversationFor(desk: Desk, sending: Sending, who: string, wait: Wait): Promise<ConversationId> {
  if (who.startsWith('#')) return (await groupNamed(desk, who.slice(1))).conversation
  const account = who === 'me' ? desk.tools.me.self.account : await accountNamed(desk, who, wait)
  return openWith(desk, sending, account, wait)
}

/** The same among those that are there already; nothing is opened, and nobody asked. */
export async function conversationWith(kept: Kept, who: string): Promise<ConversationId> {
  if (who.startsWith('#')) return (await groupNamed(kept, who.slice(1))).conversation
  const account = who === 'me' ? kept.tools.me.self.account : await accountKnownAs(kept, who)
  const direct = account && (await look(kept).contact(account))?.direct
  if (direct !== undefined) return direct
  const isMeant = async (peer: AccountId): Promise<boolean> =>
    account === undefined ? (await somebody(kept.store, peer)).name === who : sameBytes(peer, account)
  const isOwn = account !== undefined && sameBytes(account, kept.tools.me.self.account)
  for await (const { row } of rowsOf(kept.store, conversationRow)) {
    if (isOwn && row.kind === 'self') return row.conversation // that has no peer, and may wait for its place
    if (row.peer !== undefined && (await isMeant(row.peer))) return row.conversation
  }
  throw new ClientError('unknown-conversation', `there is no conversation with ${who} yet`)
}

async function groupNamed({ store }: Kept, text: string): Promise<ConversationRow> {
  const found: ConversationRow[] = []
  for await (const { row } of rowsOf(store, conversationRow)) {
    const isMeant =
      row.title === text || (text.length >= idCharactersMin && toBase64url(row.conversation).startsWith(text))
    if (row.kind === 'group' && isMeant && !isAnnounced(row)) found.push(row)
  }
  const [only, ...others] = found
  if (only === undefined) throw new ClientError('unknown-conversation', `there is no group #${text}`)
  if (others.length > 0)
    throw new ClientError('unknown-conversation', `${found.length} groups are called #${text}: use the id`)
  return only
}

/** Every conversation of this device that is proved. */
export async function* knownConversations(kept: Kept): AsyncGenerator<Known> {
  for await (const { row } of rowsOf(kept.store, conversationRow)) {
    const known = await describe(kept, row)
    if (known !== undefined) yield known
  }
}

/** Nothing for what only the server has spoken of. */
export async function describe(kept: Kept, row: ConversationRow): Promise<Known | undefined> {
  const { conversation, kind, standing, title, peer } = row
  if (standing.kind === 'announced') return undefined
  const state = await look(kept).state(conversation)
  const shown = state && view(state)
  const members = await Promise.all(
    (shown?.lists ?? []).map(async ({ account }) => ({
      ...(await somebody(kept.store, account)),
      isOwner: isAmong(account, shown?.owners ?? []),
      devices: shown?.members.filter((member) => sameBytes(member.account, account)).length ?? 0,
    })),
  )
  const known = peer && (await somebody(kept.store, peer))
  return { conversation, kind, standing: standing.kind, title, peer: known, members }
}

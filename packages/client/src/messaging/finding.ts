import { view } from '@messageu/e2ee/conversation'
import { utf8Encode } from '@messageu/protocol'
import { type AccountId, accountName, type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { alarmError, alarmKey } from '../alarms.ts'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { alarmRow, getRow, pinRow, rowsOf } from '../rows.ts'
import { somebody } from './arrivals.ts'
import { type Desk, look, type Wait } from './desk.ts'
import type { Somebody } from './items.ts'
import { openWith } from './opening.ts'
import { type ConversationRow, conversationRow } from './rows.ts'

/** A conversation as this device knows it. */
export interface Known {
  readonly conversation: ConversationId
  readonly kind: ConversationRow['kind']
  readonly standing: ConversationRow['standing']['kind']
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
  const { me } = desk.tools
  if (wanted === me.name) return me.self.account
  const pinned = await getRow(desk.store, pinRow, utf8Encode(wanted))
  if (pinned !== undefined) {
    const alarm = { kind: 'other-account', name: wanted, account: pinned.account } as const
    if ((await getRow(desk.store, alarmRow, alarmKey(alarm))) !== undefined) throw alarmError(alarm)
    return pinned.account
  }
  const person = await desk.session.find(wanted, wait)
  if (person === undefined) throw new ClientError('unknown-person', `nobody here is called ${wanted}`)
  return person.account
}

/** The account to compare safety numbers with: where an alarm says that the name stands for another one, that other one. */
export async function accountToCompare(desk: Desk, name: string, wait: Wait): Promise<AccountId> {
  const wanted = accountName(name)
  for await (const { row } of rowsOf(desk.store, alarmRow))
    if (row.kind === 'other-account' && row.name === wanted) return row.account
  return accountNamed(desk, name, wait)
}

/**
 * The conversation that WHO stands for, opened if need be: a person's exact name, `me` for notes to oneself, `#TITLE` or
 * `#ID` for a group. A title is what somebody wrote, so it never stands for a person.
 */
export async function conversationFor(desk: Desk, who: string, wait: Wait): Promise<ConversationId> {
  if (who.startsWith('#')) return (await groupNamed(desk, who.slice(1))).conversation
  const account = who === 'me' ? desk.tools.me.self.account : await accountNamed(desk, who, wait)
  return openWith(desk, account, wait)
}

/** The same among those that are there already; nothing is opened. */
export async function conversationWith(desk: Desk, who: string, wait: Wait): Promise<ConversationId> {
  if (who.startsWith('#')) return (await groupNamed(desk, who.slice(1))).conversation
  const account = who === 'me' ? desk.tools.me.self.account : await accountNamed(desk, who, wait)
  const direct = (await look(desk).contact(account))?.direct
  if (direct !== undefined) return direct
  for await (const { row } of rowsOf(desk.store, conversationRow))
    if (row.peer !== undefined && sameBytes(row.peer, account)) return row.conversation
  throw new ClientError('unknown-conversation', `there is no conversation with ${who} yet`)
}

async function groupNamed(desk: Desk, text: string): Promise<ConversationRow> {
  const found: ConversationRow[] = []
  for await (const { row } of rowsOf(desk.store, conversationRow)) {
    const isMeant =
      row.title === text || (text.length >= idCharactersMin && toBase64url(row.conversation).startsWith(text))
    if (row.kind === 'group' && isMeant) found.push(row)
  }
  const [only, ...others] = found
  if (only === undefined) throw new ClientError('unknown-conversation', `there is no group #${text}`)
  if (others.length > 0)
    throw new ClientError('unknown-conversation', `${found.length} groups are called #${text}: use the id`)
  return only
}

/** Every conversation of this device. */
export async function* knownConversations(desk: Desk): AsyncGenerator<Known> {
  for await (const { row } of rowsOf(desk.store, conversationRow)) yield describe(desk, row)
}

export async function describe(
  desk: Desk,
  { conversation, kind, standing, title, peer }: ConversationRow,
): Promise<Known> {
  const state = await look(desk).state(conversation)
  const shown = state && view(state)
  const members = await Promise.all(
    (shown?.lists ?? []).map(async ({ account }) => ({
      ...(await somebody(desk.store, account)),
      isOwner: shown?.owners.some((owner) => sameBytes(owner, account)) ?? false,
      devices: shown?.members.filter((member) => sameBytes(member.account, account)).length ?? 0,
    })),
  )
  const known = peer && (await somebody(desk.store, peer))
  return { conversation, kind, standing: standing.kind, title, peer: known, members }
}

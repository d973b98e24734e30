import { decodeContent, type View, view } from '@messageu/e2ee/conversation'
import type { AccountId, ConversationId } from '@messageu/protocol/v3'
import { isAmong, sameBytes } from '../bytes.ts'
import type { Outcome } from '../outbox.ts'
import { dropRow, getRow, putRow, rowsOf } from '../rows.ts'
import type { RowStore } from '../store.ts'
import { type Desk, type Kept, look, type Wait } from './desk.ts'
import { untitledKey } from './errands.ts'
import { type ConversationRow, draftRow, type Errand, errandRow, type Person } from './rows.ts'
import type { Sending } from './sending.ts'
import type { Work } from './work.ts'
import { write } from './writing.ts'

// Groups in which somebody has not read the title: nobody reads what was said before they came. Protocol 3 §6.11

type Untitled = Extract<Errand, { kind: 'untitled' }>['body']

/** A group begins that is to be called something. */
export function noteBegun(work: Work, conversation: ConversationId, title: string): void {
  put(work, { conversation, title, generation: 0, epoch: 0 })
}

/** Owners note that somebody has come: one of them says the title again. */
export async function noteCome(
  work: Work,
  row: ConversationRow,
  { before, arrived }: { before: View; arrived: readonly Person[] },
): Promise<void> {
  const isNew = ({ account }: Person): boolean => !isMember(before.lists, account)
  if (!arrived.some(isNew) || !isAmong(work.me.self.account, before.owners)) return
  const { conversation } = row
  const title = (await untitledIn(work.store, conversation))?.title ?? row.title
  if (title === undefined || title.trim() === '') return
  put(work, { conversation, title, generation: before.generation, epoch: before.epoch + 1 })
}

/**
 * The title was said: whoever was there when it was sealed can read it, wherever it stands. To whoever has come since it is
 * said again.
 */
export async function noteTitled(
  work: Work,
  conversation: ConversationId,
  sealed: { generation: number; epoch: number },
): Promise<void> {
  const untitled = await untitledIn(work.store, conversation)
  if (untitled === undefined) return
  const { generation, epoch } = untitled
  const isRead = sealed.generation > generation || (sealed.generation === generation && sealed.epoch >= epoch)
  if (isRead) drop(work, conversation)
  else work.tools.touched(conversation)
}

/** The server does not take it: it is not said again and again. */
export function giveUpTitle(work: Work, conversation: ConversationId): void {
  drop(work, conversation)
}

export async function isUntitled({ store }: Kept, conversation: ConversationId): Promise<boolean> {
  return (await untitledIn(store, conversation)) !== undefined
}

/**
 * Says the title for those who have not read it, if that is still to be done, and this device may. Resolves when it is
 * stored, with how it is answered.
 */
export async function sayTitle(
  desk: Desk,
  sending: Sending,
  conversation: ConversationId,
  wait: Wait,
): Promise<{ outcome: Promise<Outcome> } | undefined> {
  const title = await titleToSay(look(desk), conversation)
  if (title === undefined) return undefined
  const state = await look(desk).state(conversation)
  if (state !== undefined && !isAmong(desk.tools.me.self.account, view(state).owners)) {
    await write(desk, async (work) => drop(work, conversation))
    return undefined
  }
  try {
    return await sending.post(conversation, { kind: 'title', body: { title } }, wait, async (work) => {
      if ((await titleToSay(work, conversation)) !== title) throw new Titled()
    })
  } catch (error) {
    if (error instanceof Titled) return undefined
    throw error
  }
}

/**
 * What those who have not read it are to be told that the group is called. Nothing while a title of one's own has no answer:
 * it may stand in front of what is known here, or behind it.
 */
async function titleToSay(work: Work, conversation: ConversationId): Promise<string | undefined> {
  const untitled = await untitledIn(work.store, conversation)
  if (untitled === undefined) return undefined
  for await (const { row } of rowsOf(work.store, draftRow))
    if (sameBytes(row.conversation, conversation) && decodeContent(row.content).kind === 'title') return undefined
  return (await work.conversation(conversation))?.title ?? untitled.title
}

async function untitledIn(store: Pick<RowStore, 'get'>, conversation: ConversationId): Promise<Untitled | undefined> {
  const errand = await getRow(store, errandRow, untitledKey(conversation))
  return errand?.kind === 'untitled' ? errand.body : undefined
}

function put(work: Work, untitled: Untitled): void {
  work.store.put(putRow(errandRow, untitledKey(untitled.conversation), { kind: 'untitled', body: untitled }))
}

function drop(work: Work, conversation: ConversationId): void {
  work.store.put(dropRow(errandRow, untitledKey(conversation)))
}

function isMember(lists: View['lists'], account: AccountId): boolean {
  return lists.some((each) => sameBytes(each.account, account))
}

/** It was said meanwhile, or is called something else. Never leaves this file. */
class Titled extends Error {}

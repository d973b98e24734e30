import { Secret, signingKey } from '@messageu/e2ee'
import { type Content, type ConversationState, type OpenedMessage, view } from '@messageu/e2ee/conversation'
import type { AccountId, Delivery } from '@messageu/protocol/v3'
import type { Asker } from '../asker.ts'
import { isAmong, sameBytes } from '../bytes.ts'
import { accountKeys, accountRow, getRow, putRow } from '../rows.ts'
import { takeCopies } from './copies-in.ts'
import { giveUpPlace, keepDeparture } from './departures.ts'
import { errandKey } from './errands.ts'
import { messagingLimits as limits } from './limits.ts'
import { noteSettled } from './newcomers.ts'
import { decide } from './requests.ts'
import { type ConversationRow, errandRow } from './rows.ts'
import { isNewestTitle } from './titles.ts'
import { noteTitled } from './untitled.ts'
import { historyKey, type Work } from './work.ts'

export interface TakenMessage {
  readonly delivery: Delivery
  readonly row: ConversationRow
  readonly state: ConversationState
  readonly message: OpenedMessage
}

/** What a message says, and what follows from it. */
export async function takeContent(work: Work, taken: TakenMessage, asker: Asker): Promise<void> {
  const { content } = taken.message
  switch (content.kind) {
    case 'text':
    case 'unknown':
      return show(work, taken)
    case 'title':
      return takeTitle(work, taken, content.body.title)
    case 'leave':
      return takeLeave(work, taken, content.body)
    case 'ask':
      return takeAsk(work, taken, content.body)
    case 'copies':
      return takeCopies(work, taken, content.body, asker)
    case 'contact':
      return takeContact(work, taken, content.body, asker)
    case 'manager':
      return takeManager(work, taken, content.body.seed)
    case 'settled':
      return isAmongOwn(work, taken.row, taken.message.sender.account)
        ? noteSettled(work, content.body.device)
        : undefined
    case 'receipt':
      return // nobody shows them yet
  }
}

async function show(work: Work, { delivery, row, message }: TakenMessage): Promise<void> {
  const { sender, epoch, authored } = message
  await work.record(row, delivery, { kind: 'message', body: { sender, epoch, authored } }, { isFed: true })
}

/** In a group the title is the owners' to give, as who is in it is. */
async function takeTitle(work: Work, taken: TakenMessage, title: string): Promise<void> {
  const { row, state, message, delivery } = taken
  if (row.kind !== 'group' || !isAmong(message.sender.account, view(state).owners)) return
  const isNewest = await isNewestTitle(work, row, historyKey(row, row.base + delivery.sequence))
  const titled = isNewest ? { ...row, title, ownTitle: undefined } : row
  work.put(titled)
  await noteTitled(work, row.conversation, { generation: row.generation, epoch: message.epoch })
  await show(work, { ...taken, row: titled })
}

/**
 * Somebody online takes its devices out, and shows the signature to the others. CONVERSATIONS D 2. Where a sibling has
 * said it, this device is out as well, and the server hears it again: the sibling may have ended before it could say so.
 */
async function takeLeave(
  work: Work,
  taken: TakenMessage,
  said: Extract<Content, { kind: 'leave' }>['body'],
): Promise<void> {
  const { row, message } = taken
  const { conversation, generation } = row
  const { account, device } = message.sender
  const { epoch, departure: signature } = said
  await show(work, taken)
  if (row.kind !== 'group') return
  keepDeparture(work, { conversation, generation, account, device, epoch, signature, at: work.nowMs })
  work.tools.touched(conversation)
  if (sameBytes(account, work.me.self.account)) await giveUpPlace(work, conversation)
}

/** A sibling asks for anything that this device has, another member for what it has written itself. */
async function takeAsk(
  work: Work,
  { row, message }: TakenMessage,
  said: Extract<Content, { kind: 'ask' }>['body'],
): Promise<void> {
  const { conversation } = said
  const { sender: asker } = message
  if (!isAmongOwn(work, row, asker.account) && !sameBytes(conversation, row.conversation)) return
  const messages = said.messages.slice(0, limits.asksMax)
  const errand = { through: row.conversation, conversation, asker, messages, at: work.nowMs }
  work.tools.touched(row.conversation)
  work.store.put(putRow(errandRow, errandKey('copies', conversation, asker.account), { kind: 'copies', body: errand }))
}

/** What the user decided on another of the own devices. */
async function takeContact(
  work: Work,
  { row, message }: TakenMessage,
  { account, standing, verified }: Extract<Content, { kind: 'contact' }>['body'],
  asker: Asker,
): Promise<void> {
  if (!isAmongOwn(work, row, message.sender.account)) return
  if (!(await work.meet(account, asker))) return
  const known = await work.contact(account)
  if (known === undefined) return
  await decide(work, { ...known, verified: verified ?? known.verified, decidedBefore: 0 }, standing)
}

/** This device may manage the account from now on, if the key is the one that the list names. */
async function takeManager(work: Work, { row, message }: TakenMessage, bytes: Uint8Array): Promise<void> {
  const account = await getRow(work.store, accountRow, accountKeys.account)
  if (account === undefined || !isAmongOwn(work, row, message.sender.account)) return
  const managerSeed = new Secret(bytes)
  const list = await work.tools.lists.newest(work.store, account.identity.account)
  if (list === undefined || !sameBytes(list.managerKey, (await signingKey(managerSeed)).publicKey)) return
  const identity = { ...account.identity, managerSeed }
  work.store.put(putRow(accountRow, accountKeys.account, { ...account, identity }))
}

function isAmongOwn(work: Work, { kind }: ConversationRow, sender: AccountId): boolean {
  return kind === 'own-devices' && sameBytes(sender, work.me.self.account)
}

import { type Content, view } from '@messageu/e2ee/conversation'
import type { ConversationId, DeviceId } from '@messageu/protocol/v3'
import { compareBytes, isAmong, sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import type { Outcome } from '../outbox.ts'
import { rowsOf } from '../rows.ts'
import { bringIn } from './bringing.ts'
import { historyOf } from './copies-out.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { managerOf } from './managing.ts'
import { dropNewcomer, type Newcomer, newcomerOf, putNewcomer } from './newcomers.ts'
import { type ConversationRow, contactRow, conversationRow } from './rows.ts'
import type { Sending } from './sending.ts'
import { decisionAbout } from './verdicts.ts'
import { write } from './writing.ts'

/** How far a new device has come. */
export type Progress =
  | { readonly kind: 'listed' }
  | { readonly kind: 'brought-in'; readonly conversations: number }
  | { readonly kind: 'history'; readonly conversations: number }

/** A new device of the account, and the conversation of the own devices, through which it is given what it lacks. */
export interface Recipient {
  readonly device: DeviceId
  readonly among: ConversationId
  readonly tell: (progress: Progress) => void
}

/**
 * Brings a new device in wherever this device is, and gives it what was said there. Each thing is stored to be sent in one
 * step with the note that it was given: whoever is interrupted goes on there. `early` while the device cannot be brought in
 * yet; otherwise how everything is answered. Protocol 3 §6.11
 */
export async function give(
  desk: Desk,
  sending: Sending,
  { device, among, tell }: Recipient,
  wait: Wait,
): Promise<'early' | readonly Promise<Outcome>[]> {
  const outcomes: Promise<Outcome>[] = []
  const post = async (content: Content, note: (newcomer: Newcomer) => Newcomer | undefined): Promise<void> => {
    const { outcome } = await sending.post(among, content, wait, async (work) => {
      const newcomer = await newcomerOf(work.store, device)
      if (newcomer === undefined) throw new Settled()
      const noted = note(newcomer)
      if (noted === undefined) dropNewcomer(work, device)
      else putNewcomer(work, noted)
    })
    outcomes.push(outcome)
  }
  const others = (await activeOnes(desk)).filter(({ conversation }) => !sameBytes(conversation, among))
  for (const conversation of [among, ...others.map((each) => each.conversation)])
    if (!(await bringDevice(desk, conversation, device, wait))) return 'early'
  tell({ kind: 'brought-in', conversations: others.length })
  try {
    await giveKey(desk, device, post)
    await giveContacts(desk, device, post)
    await giveHistory(desk, { device, others }, post)
    await post({ kind: 'settled', body: { device } }, () => undefined)
  } catch (error) {
    if (!(error instanceof Settled)) throw error
  }
  return outcomes
}

type Post = (content: Content, note: (newcomer: Newcomer) => Newcomer | undefined) => Promise<void>

/** Whoever takes a device off replaces the key: this device may not have it any more. */
async function giveKey(desk: Desk, device: DeviceId, post: Post): Promise<void> {
  const newcomer = await newcomerOf(desk.store, device)
  const list = await desk.tools.lists.newest(desk.store, desk.tools.me.self.account)
  if (newcomer?.isManager !== true || list === undefined) return
  try {
    const { seed } = await managerOf(desk, list)
    await post({ kind: 'manager', body: { seed: seed.reveal() } }, (now) => ({ ...now, isManager: false }))
  } catch (error) {
    if (!(error instanceof ClientError) || error.reason !== 'not-manager') throw error
    await write(desk, async (work) => putNewcomer(work, { ...newcomer, isManager: false }))
  }
}

async function giveContacts(desk: Desk, device: DeviceId, post: Post): Promise<void> {
  const after = (await newcomerOf(desk.store, device))?.contact
  for await (const { row } of rowsOf(desk.store, contactRow, { ...(after && { after }) })) {
    if (row.standing === 'stranger') continue
    await post(decisionAbout(row), (now) => ({ ...now, contact: row.account }))
  }
}

async function giveHistory(
  desk: Desk,
  { device, others }: { device: DeviceId; others: readonly ConversationRow[] },
  post: Post,
): Promise<void> {
  const after = (await newcomerOf(desk.store, device))?.history
  const left = others.filter(({ conversation }) => after === undefined || compareBytes(conversation, after) > 0)
  for (const row of left) {
    const parts = await historyOf(desk, row)
    for (const [i, part] of parts.entries()) {
      const isLast = i === parts.length - 1
      await post(part, (now) => (isLast ? { ...now, history: row.conversation } : now))
    }
  }
}

/** A device that was just listed publishes its key packages before anybody can bring it in. */
async function bringDevice(desk: Desk, conversation: ConversationId, device: DeviceId, wait: Wait): Promise<boolean> {
  await bringIn(desk, conversation, [desk.tools.me.self.account], wait)
  const state = await look(desk).state(conversation)
  return state === undefined || isAmong(device, view(state).roster)
}

/** The conversations that this device is in, in the order of their ids. */
export async function activeOnes(desk: Pick<Desk, 'store'>): Promise<readonly ConversationRow[]> {
  const found: ConversationRow[] = []
  for await (const { row } of rowsOf(desk.store, conversationRow)) if (row.standing.kind === 'active') found.push(row)
  return found
}

/** It has been settled by another device meanwhile. Never leaves this file. */
class Settled extends Error {}

import { type ConversationState, createConversation, type Purpose, view } from '@messageu/e2ee/conversation'
import type { AccountId, ConversationId, ConversationState as ShownState } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { enter } from './commits-in.ts'
import { type Desk, look } from './desk.ts'
import { reveal } from './requests.ts'
import type { ConversationRow } from './rows.ts'
import { noteBegun } from './untitled.ts'
import type { Work } from './work.ts'
import { write } from './writing.ts'

/** What new conversations are sealed with. */
const suite = 'x25519'

/** This device is alone in a conversation that the server has just begun for it: the others are brought in by commits. */
export async function beginAlone(
  desk: Desk,
  conversation: ConversationId,
  {
    purpose,
    title,
    shown: { generation, sequence },
  }: { purpose: Purpose; title?: string; shown: Pick<ShownState, 'generation' | 'sequence'> },
): Promise<ConversationRow> {
  const { me, lists } = desk.tools
  const list = await lists.newest(desk.store, me.self.account)
  if (list === undefined) throw new ClientError('not-registered', 'the device list of this account is not known yet')
  const state = await createConversation(me.self, list, { conversation, generation, purpose, suite })
  const awaited = purpose.kind === 'direct' ? [purpose.with, me.self.account] : []
  return write(desk, (work) => {
    if (title !== undefined) noteBegun(work, conversation, title)
    return takePlace(work, conversation, { state, sequence, awaited })
  })
}

/** The state of a conversation that begins, or begins anew, with this device. The others are still to be brought in. */
export async function takePlace(
  work: Work,
  conversation: ConversationId,
  { state, sequence, awaited }: { state: ConversationState; sequence: number; awaited: readonly AccountId[] },
): Promise<ConversationRow> {
  const shown = view(state)
  const known = await work.conversation(conversation)
  const row = known ?? (await work.begin(conversation, shown))
  work.dropState(conversation)
  work.putState(conversation, state)
  const standing = { kind: 'active', body: undefined } as const
  const received = Math.max(row.received, sequence)
  // whoever begins it brings everybody in: there is nobody to have a look at first
  const entered = enter({ ...row, standing, received, awaited, isUnseen: false }, shown, {
    sequence,
    keysSince: work.nowMs,
  })
  work.put(entered)
  return reveal(work, entered)
}

export async function isHere(desk: Desk, conversation: ConversationId, generation: number): Promise<boolean> {
  const row = await look(desk).conversation(conversation)
  return row?.standing.kind === 'active' && row.generation === generation
}

/** It has begun, and nobody but this device is there. */
export function isAlone({ tools }: Desk, { epoch, roster }: ShownState): boolean {
  const [only, ...others] = roster
  return epoch === 0 && only !== undefined && others.length === 0 && sameBytes(only, tools.me.self.device)
}

import { leaving, view } from '@messageu/e2ee/conversation'
import type { AccountId, ConversationId } from '@messageu/protocol/v3'
import { isAmong, sameBytes } from '../bytes.ts'
import { badAnswer, ClientError } from '../errors.ts'
import { beginAlone } from './beginning.ts'
import { bringIn } from './bringing.ts'
import { commit } from './commits-out.ts'
import { acceptByTurning } from './contacts.ts'
import { giveUpPlace } from './departures.ts'
import { type Desk, look, type Wait } from './desk.ts'
import type { Sending } from './sending.ts'
import { mayBeOlder } from './titles.ts'
import { sayTitle } from './untitled.ts'
import { write } from './writing.ts'

/** A group with these people. Those of whom no device can be brought in yet are returned. */
export async function createGroup(
  desk: Desk,
  sending: Sending,
  { title, accounts }: { title: string; accounts: readonly AccountId[] },
  wait: Wait,
): Promise<{ conversation: ConversationId; absent: readonly AccountId[] }> {
  mustBeTitle(title)
  const { conversation, generation } = await desk.session.create(wait)
  await beginAlone(desk, conversation, { purpose: { kind: 'group' }, title, shown: { generation, sequence: 0 } })
  for (const account of accounts) await acceptByTurning(desk, sending, account, wait)
  const absent = await bringIn(desk, conversation, [desk.tools.me.self.account, ...accounts], wait)
  await tellTitle(desk, sending, conversation, wait)
  return { conversation, absent: absent.filter((account) => !sameBytes(account, desk.tools.me.self.account)) }
}

export async function addPeople(
  desk: Desk,
  sending: Sending,
  { conversation, accounts }: { conversation: ConversationId; accounts: readonly AccountId[] },
  wait: Wait,
): Promise<readonly AccountId[]> {
  for (const account of accounts) await acceptByTurning(desk, sending, account, wait)
  const absent = await bringIn(desk, conversation, accounts, wait)
  await mustHavePlace(desk, conversation)
  await tellTitle(desk, sending, conversation, wait)
  return absent
}

/** Whoever has just come has not read what the group is called. */
async function tellTitle(desk: Desk, sending: Sending, conversation: ConversationId, wait: Wait): Promise<void> {
  const said = await sayTitle(desk, sending, conversation, wait)
  const answered = await said?.outcome
  if (answered?.kind === 'refused') throw answered.error
}

/** Takes every device of these accounts out. */
export async function removePeople(
  desk: Desk,
  { conversation, accounts }: { conversation: ConversationId; accounts: readonly AccountId[] },
  wait: Wait,
): Promise<void> {
  const done = await commit(
    desk,
    conversation,
    async ({ state }) => {
      const here = view(state).members.filter(({ account }) => isAmong(account, accounts))
      if (here.length === 0) return undefined
      const wish = { kind: 'remove', devices: here.map(({ device }) => device) } as const
      return { wish, accounts: accounts.filter((account) => here.some((member) => sameBytes(member.account, account))) }
    },
    wait,
  )
  if (done === 'unneeded') throw new ClientError('unknown-person', 'nobody of them is in this group')
  await mustHavePlace(desk, conversation)
}

export async function rename(
  desk: Desk,
  sending: Sending,
  { conversation, title }: { conversation: ConversationId; title: string },
  wait: Wait,
): Promise<void> {
  mustBeTitle(title)
  const state = await look(desk).state(conversation)
  if (state !== undefined && !isAmong(desk.tools.me.self.account, view(state).owners))
    throw new ClientError('forbidden', 'only owners name a group')
  const { outcome } = await sending.post(conversation, { kind: 'title', body: { title } }, wait)
  const answered = await outcome
  if (answered.kind === 'refused') throw answered.error
}

/** Whoever could not read a title before it was lost would never know what the group is called. */
export async function repeatTitle(
  desk: Desk,
  sending: Sending,
  conversation: ConversationId,
  wait: Wait,
): Promise<void> {
  const work = look(desk)
  const row = await work.conversation(conversation)
  const state = await work.state(conversation)
  if (row?.title === undefined || !row.ownTitle?.isLost || state === undefined) return
  if (await mayBeOlder(work, row, row.ownTitle.place)) return
  if (isAmong(desk.tools.me.self.account, view(state).owners))
    await rename(desk, sending, { conversation, title: row.title }, wait)
}

/** From now on these accounts are the owners, beside nobody else. */
export async function appoint(
  desk: Desk,
  { conversation, owners }: { conversation: ConversationId; owners: readonly AccountId[] },
  wait: Wait,
): Promise<void> {
  await commit(desk, conversation, async () => ({ wish: { kind: 'owners', owners }, accounts: [] }), wait)
  await mustHavePlace(desk, conversation)
}

/**
 * If a change came back as one that cannot be applied, this device has lost its place, and only once it has it again can
 * it see what has become of the change.
 */
async function mustHavePlace(desk: Desk, conversation: ConversationId): Promise<void> {
  const row = await look(desk).conversation(conversation)
  if (row?.standing.kind === 'stuck')
    throw badAnswer('a change came back as one that cannot be applied: whether it was made shows by who is there later')
}

/**
 * The account goes: its word for it is sealed for the others, and the server delivers nothing more. Somebody who stays
 * takes its devices out. CONVERSATIONS D 2
 */
export async function leave(desk: Desk, sending: Sending, conversation: ConversationId, wait: Wait): Promise<void> {
  const work = look(desk)
  const state = await work.state(conversation)
  const row = await work.conversation(conversation)
  if (row?.kind !== 'group') throw new ClientError('forbidden', 'only groups are left: people are refused or blocked')
  if (row.standing.kind === 'active' && state !== undefined) {
    const { outcome } = await sending.post(conversation, await leaving(state, desk.tools.me.self), wait)
    await outcome
  }
  await desk.session.request('leave', { conversation }, wait)
  await write(desk, (each) => giveUpPlace(each, conversation))
}

/** A group of another program may have none that anybody sees; ours have one. */
function mustBeTitle(title: string): void {
  if (title.trim() === '') throw new ClientError('empty-text', 'a group needs a title')
}

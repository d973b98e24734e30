import type { VerifiedList } from '@messageu/e2ee'
import { type ConversationState, type View, view } from '@messageu/e2ee/conversation'
import { type AccountId, type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { isAmong, sameBytes } from '../bytes.ts'
import { bringIn } from './bringing.ts'
import { commit } from './commits-out.ts'
import { departuresFrom } from './departures.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { type Duties, dutiesOf, split } from './duties.ts'
import { messagingLimits as limits } from './limits.ts'

/** What this conversation wants done, as far as this device knows the lists of its members. */
export async function wanted(desk: Desk, conversation: ConversationId): Promise<Duties> {
  const shown = await viewOf(desk, conversation)
  return shown === undefined ? nothing : dutiesIn(desk, shown)
}

/** What of it is for this device to do at once, and what it leaves to others for a while. */
export async function wantedByTurn(
  desk: Desk,
  conversation: ConversationId,
): Promise<{ atOnce: Duties; later: Duties }> {
  const shown = await viewOf(desk, conversation)
  if (shown === undefined) return { atOnce: nothing, later: nothing }
  const isOwner = isAmong(desk.tools.me.self.account, shown.owners)
  const by = { account: desk.tools.me.self.account, isOwner, nowMs: desk.clock.nowMs() }
  return split(await dutiesIn(desk, shown), by)
}

async function dutiesIn(desk: Desk, shown: View): Promise<Duties> {
  const work = look(desk)
  const newest = new Map<string, VerifiedList>()
  for (const account of [...shown.lists.map((each) => each.account), ...shown.invited]) {
    const list = await work.tools.lists.newest(work.store, account)
    if (list !== undefined) newest.set(toBase64url(account), list)
  }
  return dutiesOf(shown, desk.tools.me.self.account, {
    newest: (account) => newest.get(toBase64url(account)),
    departures: await departuresFrom(desk, shown.conversation),
  })
}

async function viewOf(desk: Desk, conversation: ConversationId): Promise<View | undefined> {
  const state = await look(desk).state(conversation)
  return state === undefined ? undefined : view(state)
}

/** Does it, in separate commits. Somebody else may have been faster with any of it. */
export async function perform(desk: Desk, conversation: ConversationId, duties: Duties, wait: Wait): Promise<void> {
  if (duties.delisted.length > 0) await removeDelisted(desk, conversation, duties.delisted, wait)
  if (duties.departed.length > 0) await removeDeparted(desk, conversation, wait)
  if (duties.missing.length > 0) await bringIn(desk, conversation, duties.missing, wait)
}

async function removeDelisted(
  desk: Desk,
  conversation: ConversationId,
  wanted: Duties['delisted'],
  wait: Wait,
): Promise<void> {
  const planning = async ({ state }: { state: ConversationState }) => {
    const here = view(state).members.filter(({ device }) => wanted.some((each) => sameBytes(each.device, device)))
    if (here.length === 0) return undefined
    return {
      wish: { kind: 'remove', devices: here.map(({ device }) => device) } as const,
      accounts: distinct(here.map(({ account }) => account)),
    }
  }
  await commit(desk, conversation, planning, wait)
}

/** So many at a time as a commit can show the word of; decided anew for each, because others do it too. */
async function removeDeparted(desk: Desk, conversation: ConversationId, wait: Wait): Promise<void> {
  const planning = async ({ state }: { state: ConversationState }) => {
    const shown = view(state)
    const departed = (await dutiesIn(desk, shown)).departed.slice(0, limits.departuresPerCommit)
    if (departed.length === 0) return undefined
    const here = shown.members.filter(({ account }) => departed.some((each) => sameBytes(each.account, account)))
    const departures = departed
      .filter(({ isProven }) => isProven)
      .map(({ account, device, epoch, signature }) => ({ account, device, epoch, signature }))
    return {
      wish: { kind: 'remove', devices: here.map(({ device }) => device), departures } as const,
      accounts: distinct(here.map(({ account }) => account)),
    }
  }
  while ((await commit(desk, conversation, planning, wait)) === 'done') {}
}

function distinct(accounts: readonly AccountId[]): readonly AccountId[] {
  return accounts.filter((account, i) => accounts.findIndex((each) => sameBytes(each, account)) === i)
}

const nothing: Duties = { delisted: [], departed: [], missing: [] }

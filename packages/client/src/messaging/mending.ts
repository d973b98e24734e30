import { type ConversationId, RefusedError, type ConversationState as ShownState } from '@messageu/protocol/v3'
import { isAmong, sameBytes } from '../bytes.ts'
import { isAnnounced } from './announcing.ts'
import { leaveDeserted } from './deserted.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { hasLostPlace, shownOrFounded } from './founding.ts'
import { missing } from './gaps.ts'
import { explain, showGaps } from './gaps-out.ts'
import { messagingLimits as limits } from './limits.ts'
import { rejoin } from './rejoining.ts'
import { regenerate, renew } from './renewing.ts'
import { type ConversationRow, doubtful } from './rows.ts'
import { getStuck } from './stuck.ts'
import { within } from './within.ts'
import { write } from './writing.ts'

/**
 * One attempt to get this device its place again: by rejoining; and once that has failed for too long, by beginning the
 * conversation anew. CONVERSATIONS D 4
 */
export async function mend(desk: Desk, conversation: ConversationId, wait: Wait): Promise<void> {
  const row = await rowOf(desk, conversation)
  if (row === undefined || !['stuck', 'waiting', 'announced'].includes(row.standing.kind)) return
  const before = await look(desk).state(conversation)
  if (row.standing.kind === 'stuck') await report(desk, row, row.standing.body.epoch, wait)
  if ((await rejoin(desk, conversation, wait)) === 'done') return
  if (row.standing.kind !== 'stuck') {
    // among one's own devices nobody else can bring this one back
    if (row.kind === 'own-devices' || row.kind === 'self')
      await regenerate(desk, conversation, { purpose: { kind: row.kind }, ...wait })
    else if (isAnnounced(row)) await leaveDeserted(desk, row, wait)
    return
  }
  if (await hasLostPlace(desk, row, wait)) return
  const repairs = repairsDue(desk, row.standing.body)
  // somebody else may have begun it anew meanwhile, and brought this device in
  const now = await rowOf(desk, conversation)
  if (repairs < 1 || now?.standing.kind !== 'stuck' || now.generation !== row.generation) return
  const { by } = row.standing.body
  const isOwn = by !== undefined && sameBytes(by, desk.tools.me.self.account)
  if (before !== undefined)
    await renew(desk, conversation, { before, repairs, without: isOwn ? undefined : by, ...wait })
}

/** How often the conversation could have been begun anew since then. */
function repairsDue(desk: Desk, { since }: { since: number }): number {
  return Math.floor((desk.clock.nowMs() - since) / repairMs(desk))
}

/** Milliseconds until the conversation may be begun anew; nothing if it may be, or need not. */
export function mayRenewInMs(desk: Desk, { standing }: ConversationRow): number | undefined {
  if (standing.kind !== 'stuck') return undefined
  const leftMs = standing.body.since + repairMs(desk) - desk.clock.nowMs()
  return leftMs > 0 ? leftMs : undefined
}

function repairMs({ tools }: Desk): number {
  return tools.repairMs ?? limits.repairMs
}

/**
 * A commit of this device that was accepted and does not come raises doubt about the conversation, because nothing that
 * comes may ever tell. Milliseconds until then, if one has not come. S07
 */
export async function doubtIfWithheld(desk: Desk, conversation: ConversationId): Promise<number | undefined> {
  const accepted = (await rowOf(desk, conversation))?.accepted
  if (accepted === undefined || !(await look(desk).isPending(conversation, accepted))) return undefined
  const waitedMs = Math.abs(desk.clock.nowMs() - accepted.since)
  if (waitedMs < limits.placeMs) return limits.placeMs - waitedMs
  await write(desk, async (work) => {
    const row = await work.conversation(conversation)
    if (row !== undefined) work.put(doubtful(row))
  })
  return undefined
}

/**
 * After the server was restored, this device was away for long, or a commit of its own did not come: a conversation of
 * which the server has lost commits cannot go on, and is begun anew at once; where commits are missing here, this device
 * rejoins. Whether that is known now: what still waits for this device may tell more. CONVERSATIONS C 7, C 10
 */
export async function compareEpoch(desk: Desk, conversation: ConversationId, wait: Wait): Promise<boolean> {
  await within(desk, limits.caughtUpMs, desk.isCaughtUp, wait)
  const before = await rowOf(desk, conversation)
  if (before === undefined) return true
  const shown = await shownOrFounded(desk, before, wait)
  if (shown === 'nothing') return true
  if (shown === 'later') return false
  const hasLost = isBehind(shown, before)
  const undelivered = { from: before.received + 1, through: shown.sequence }
  // after a restore everything comes again, and says by itself what is missing
  const isFirst = before.earlier.length === 0 && before.accepted !== undefined
  const isAway = !hasLost && (before.received > 0 || isFirst)
  const explained = isAway ? await explain(desk, { conversation, ...undelivered }, wait) : []
  if (explained.some(({ why }) => why === 'waiting')) return false
  return write(desk, async (work) => {
    const row = await work.conversation(conversation)
    if (row?.doubt === undefined) return true
    if (row.received !== before.received) return false
    const received = isAway ? Math.max(row.received, shown.sequence) : row.received
    if (before.accepted !== undefined) await work.forgetPending(conversation, before.accepted)
    const holes = explained.filter(({ why }) => why !== 'not-addressed')
    work.put(
      holes.reduce<ConversationRow>((known, hole) => missing(known, { ...hole, since: work.nowMs }), {
        ...row,
        received,
        doubt: undefined,
      }),
    )
    const sure = (await showGaps(work, conversation, holes)) ?? row
    const why = whyStuck(desk, { hasLost, isAway, row, shown })
    if (why === undefined) return true
    const stuck = await getStuck(work, sure, { epoch: row.epoch, why })
    if (!hasLost || stuck.standing.kind !== 'stuck') return true
    const since = work.nowMs - repairMs(desk)
    work.put({ ...stuck, standing: { kind: 'stuck', body: { ...stuck.standing.body, since } } })
    return true
  })
}

/**
 * Whoever was left out when it was begun anew is told nothing of it: a Welcome comes if somebody brings this device in, and
 * until then it looks for its place by itself.
 */
function whyStuck(
  { tools }: Desk,
  { hasLost, isAway, row, shown }: { hasLost: boolean; isAway: boolean; row: ConversationRow; shown: ShownState },
): string | undefined {
  if (hasLost) return 'the server has lost commits'
  if (isAway && isBehind(row, shown)) return 'commits have not come'
  const isLeftOut = row.generation < shown.generation && shown.epoch > 0 && !isAmong(tools.me.self.device, shown.roster)
  return isLeftOut ? 'it was begun anew without this device' : undefined
}

function isBehind(one: Pick<ConversationRow, 'generation' | 'epoch'>, other: typeof one): boolean {
  return one.generation < other.generation || (one.generation === other.generation && one.epoch < other.epoch)
}

async function report(
  desk: Desk,
  { conversation, generation }: ConversationRow,
  epoch: number,
  { signal }: Wait,
): Promise<void> {
  try {
    await desk.session.request('stuck', { conversation, generation, epoch }, { signal })
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error // it was said a moment ago, or things have moved on
  }
}

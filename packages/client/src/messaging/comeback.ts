import type { VerifiedList } from '@messageu/e2ee'
import type { AccountId, ConversationState, DeviceId } from '@messageu/protocol/v3'
import { isAmong, sameBytes } from '../bytes.ts'
import { rowsOf } from '../rows.ts'
import { newestLists } from './commits-out.ts'
import { type Desk, look } from './desk.ts'
import { contactRow, type Person } from './rows.ts'

/** Whom a conversation that is begun anew is to have again. */
export interface Comeback {
  readonly accounts: readonly AccountId[]
  /** The devices that this one knows to have been there. */
  readonly members: readonly Person[]
  /** What the server has now. */
  readonly present: ConversationState
}

/**
 * Every listed device of the accounts that take part as far as the server knows, this one first. One that was restored may
 * know nothing of those who have come since, still have those who have gone, and have devices on the roster that are off
 * their lists. Protocol 3 §6.8
 */
export async function returning(desk: Desk, comeback: Comeback): Promise<readonly DeviceId[]> {
  const { accounts, present } = comeback
  const { device } = desk.tools.me.self
  const lists = await newestLists(look(desk), accounts)
  const devices = areShown(present)
    ? [
        ...listedOn(lists.filter((list) => present.roster.some((each) => hasHad(list, each)))),
        ...(await goneSince(desk, comeback)),
      ]
    : listedOn(lists)
  return [device, ...devices.filter((each) => !sameBytes(each, device))]
}

/** Of a group whoever is on the roster takes part; only until others have come into one that was begun anew, they do too. */
function areShown({ kind, generation, epoch }: ConversationState): boolean {
  return kind === 'group' && (generation === 1 || epoch > 0)
}

/**
 * The devices of those who were there when the server was copied, and are not there any more. Where it shows an older list
 * than this device has seen, it is by that one that the server judges: what it has on the roster is on it.
 */
async function goneSince(desk: Desk, { accounts, members, present }: Comeback): Promise<readonly DeviceId[]> {
  const { lists } = desk.tools
  const stillHere = await newestLists(look(desk), [...accounts, ...members.map(({ account }) => account)])
  let unknown = present.roster.filter((each) => !stillHere.some((list) => hasHad(list, each)))
  const gone: DeviceId[] = []
  for await (const { row } of rowsOf(desk.store, contactRow)) {
    if (unknown.length === 0) break
    const seen = await lists.newest(desk.store, row.account)
    const theirs = seen === undefined ? [] : unknown.filter((each) => hasHad(seen, each))
    if (theirs.length === 0) continue
    unknown = unknown.filter((each) => !isAmong(each, theirs))
    const isRead = await lists.meet(desk.store, row.account, desk.session.asker)
    gone.push(...(isRead ? listedOn(await newestLists(look(desk), [row.account])) : theirs))
  }
  return [...gone, ...unknown]
}

function listedOn(lists: readonly VerifiedList[]): readonly DeviceId[] {
  return lists.flatMap(({ devices }) => devices.map(({ device }) => device))
}

/** Whether the device is on the list, or was. */
function hasHad({ devices, formerDevices }: VerifiedList, device: DeviceId): boolean {
  return isAmong(device, [...devices.map((each) => each.device), ...formerDevices])
}

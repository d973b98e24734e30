import type { VerifiedList } from '@messageu/e2ee'
import type { AccountId } from '@messageu/protocol/v3'
import { alarmKey } from '../alarms.ts'
import { sameBytes } from '../bytes.ts'
import { pinning } from '../people.ts'
import { alarmRow, getRow, putRow } from '../rows.ts'
import { change, type RowStore } from '../store.ts'
import { feeding, telling } from './feed.ts'
import { contactRow, type Told } from './rows.ts'

// What is kept and told when a device list is read.

/**
 * Keeps whose list it is and what it is called, and tells which devices have come and gone since it was read before. That
 * its name is known as somebody else's is an alarm. CONVERSATIONS A 5
 */
export async function noteList(
  store: RowStore,
  { before, list, at }: { before: VerifiedList | undefined; list: VerifiedList; at: number },
): Promise<void> {
  const { account, name } = list
  if (before?.version === list.version && (await getRow(store, contactRow, account)) !== undefined) return
  const added = devicesOnlyOn(list, before)
  const removed = before === undefined ? [] : devicesOnlyOn(before, list)
  await change(store, async () => {
    const known = await getRow(store, contactRow, account)
    const contact = {
      account,
      name,
      standing: 'stranger',
      verified: undefined,
      direct: undefined,
      confirmed: 0,
      confirmedAt: 0,
      decidedBefore: 0,
    } as const
    const isNews = before !== undefined && added.length + removed.length > 0
    const met = known === undefined ? await pinning(store, [{ account, name }], at) : undefined
    const isOther = met?.result.some(({ isOtherAccount, isTurnedDown }) => isOtherAccount && !isTurnedDown) ?? false
    const told: Told[] = [
      ...(isOther ? [{ kind: 'alarm', body: { kind: 'other-account', account, name } } as const] : []),
      ...(isNews ? [{ kind: 'devices', body: { account, added, removed } } as const] : []),
    ]
    const changes = [
      ...(met === undefined ? [] : [putRow(contactRow, account, contact), ...met.changes]),
      ...(told.length > 0
        ? await feeding(
            store,
            told.map((each) => ({ kind: 'told', body: { at, told: each } })),
          )
        : []),
    ]
    return { changes, result: undefined }
  })
}

/** Whether the user has been told of an alarm about the list of an account. */
export async function isAlarmed(store: Pick<RowStore, 'get'>, account: AccountId): Promise<boolean> {
  const kinds = ['older-list', 'forked-list'] as const
  const rows = await Promise.all(kinds.map((kind) => getRow(store, alarmRow, alarmKey({ kind, account }))))
  return rows.some((row) => row !== undefined)
}

export async function tellAlarm(
  store: RowStore,
  { kind, account, at }: { kind: 'older-list' | 'forked-list'; account: AccountId; at: number },
): Promise<void> {
  await change(store, async () => {
    const name = (await getRow(store, contactRow, account))?.name
    return { changes: await telling(store, { kind: 'alarm', body: { kind, account, name } }, at), result: undefined }
  })
}

function devicesOnlyOn({ devices }: VerifiedList, other: VerifiedList | undefined) {
  return devices
    .map(({ device }) => device)
    .filter((device) => other?.devices.every((each) => !sameBytes(each.device, device)) ?? true)
}

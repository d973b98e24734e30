import type { OpenedMessage } from '@messageu/e2ee/conversation'
import { alarmChange } from '../alarms.ts'
import type { Asker } from '../asker.ts'
import { getRow, listRow } from '../rows.ts'
import { messagingLimits as limits } from './limits.ts'
import { tellAlarm } from './noting.ts'
import type { Work } from './work.ts'

/**
 * A message names the device list of its author as the author knows it. If the server shows another one, or an older one,
 * that is an alarm; if it shows the same, the list is confirmed. CONVERSATIONS A 7
 */
export async function hearOfList(work: Work, { sender, header }: OpenedMessage, asker: Asker): Promise<void> {
  const { account } = sender
  const ref = { account, ...header.list }
  const contact = await work.contact(account)
  const isFresh = contact !== undefined && Math.abs(work.nowMs - contact.confirmedAt) < limits.confirmedEveryMs
  if (contact !== undefined && (contact.confirmed > ref.version || (contact.confirmed === ref.version && isFresh)))
    return
  if (await work.learn([ref], asker)) {
    const known = await work.contact(account)
    if (known !== undefined) work.putContact({ ...known, confirmed: ref.version, confirmedAt: work.nowMs })
    return
  }
  await raiseAlarm(work, ref)
}

async function raiseAlarm(
  work: Work,
  { account, version }: { account: OpenedMessage['sender']['account']; version: number },
): Promise<void> {
  const seen = await getRow(work.store, listRow, account)
  const kind = seen === undefined || seen.version < version ? 'older-list' : 'forked-list'
  const at = work.nowMs
  const name = (await work.contact(account))?.name
  work.store.put(alarmChange({ kind, name, account, at }))
  await tellAlarm(work.store, { kind, account, at })
}

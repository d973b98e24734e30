import { RefusedError } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { type Announced, forgetAnnounced, isAnnounced } from './announcing.ts'
import type { Desk, Wait } from './desk.ts'
import { write } from './writing.ts'

/**
 * Leaves a group in which nobody is but a device that is off the account's list, and which never had a commit: so there is
 * nothing from which anybody could enter, and nobody to bring this device in. With its account gone the server closes it.
 */
export async function leaveDeserted(desk: Desk, { conversation, kind }: Announced, { signal }: Wait): Promise<void> {
  if (kind !== 'group') return
  const list = await desk.tools.lists.newest(desk.store, desk.tools.me.self.account)
  const lost = list?.formerDevices ?? []
  try {
    const { epoch, roster } = await desk.session.request('read-state', { conversation }, { signal })
    if (epoch > 0 || !roster.every((device) => lost.some((each) => sameBytes(each, device)))) return
    await desk.session.request('leave', { conversation }, { signal })
  } catch (error) {
    if (error instanceof RefusedError && error.retry === 'never') return // the server has nothing of that name
    throw error
  }
  await write(desk, async (work) => {
    const row = await work.conversation(conversation)
    if (row !== undefined && isAnnounced(row)) await forgetAnnounced(work, row)
  })
}

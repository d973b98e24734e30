import type { ConversationId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { beginAlone, isAlone } from './beginning.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { accountOf } from './managing.ts'
import { enterOpened } from './opening.ts'

/** The conversation of the own devices; it is entered when there is a second one. */
export async function enterOwnDevices(desk: Desk, wait: Wait): Promise<ConversationId> {
  const { ownDevices: conversation } = await accountOf(desk)
  if (conversation === undefined) throw new ClientError('bad-answer', 'the server has no conversation for own devices')
  const { generation } = await desk.session.request('read-state', { conversation }, wait)
  await enterOpened(desk, { conversation, generation, purpose: { kind: 'own-devices' } }, wait)
  return conversation
}

/**
 * The same where nobody waits for it: whoever was the first device begins it once there is a second one, and everybody else
 * is brought in. Whether it was begun by that.
 */
export async function beginOwnDevices(desk: Desk, conversation: ConversationId, { signal }: Wait): Promise<boolean> {
  const { ownDevices } = await accountOf(desk)
  if (ownDevices === undefined || !sameBytes(ownDevices, conversation)) return false
  const list = await desk.tools.lists.newest(desk.store, desk.tools.me.self.account)
  if ((list?.devices.length ?? 0) < 2 || (await rowOf(desk, conversation)) !== undefined) return false
  const shown = await desk.session.request('read-state', { conversation }, { signal })
  if (!isAlone(desk, shown)) return false
  await beginAlone(desk, conversation, { purpose: { kind: 'own-devices' }, shown })
  return true
}

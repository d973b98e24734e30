import type { ConversationId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { bringIn } from './bringing.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { write } from './writing.ts'

/**
 * Brings everybody in who is awaited where this device has begun a conversation: what it sealed before, nobody else could
 * open. Of a group, whoever has no device that can come stays out.
 */
export async function gather(desk: Desk, conversation: ConversationId, wait: Wait): Promise<void> {
  const row = await rowOf(desk, conversation)
  if (row === undefined || row.awaited.length === 0) return
  const absent = await bringIn(desk, conversation, row.awaited, wait)
  const own = desk.tools.me.self.account
  if (row.kind === 'direct' && absent.some((account) => !sameBytes(account, own)))
    throw new ClientError('no-device', 'none of their devices can be brought into a conversation yet')
  await write(desk, async (work) => {
    const now = await work.conversation(conversation)
    if (now !== undefined && now.generation === row.generation) work.put({ ...now, awaited: [] })
  })
}

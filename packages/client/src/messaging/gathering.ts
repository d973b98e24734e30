import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { bringIn } from './bringing.ts'
import type { Desk, Wait } from './desk.ts'
import type { ConversationRow } from './rows.ts'
import { write } from './writing.ts'

/**
 * Brings everybody in who is awaited where this device has begun a conversation: what it sealed before, nobody else could
 * open. Of a group, whoever has no device that can come stays out.
 */
export async function gather(
  desk: Desk,
  {
    conversation,
    kind,
    generation,
    awaited,
  }: Pick<ConversationRow, 'conversation' | 'kind' | 'generation' | 'awaited'>,
  wait: Wait,
): Promise<void> {
  if (awaited.length === 0) return
  const absent = await bringIn(desk, conversation, awaited, wait)
  const own = desk.tools.me.self.account
  if (kind === 'direct' && absent.some((account) => !sameBytes(account, own)))
    throw new ClientError('no-device', 'none of their devices can be brought into a conversation yet')
  await write(desk, async (work) => {
    const now = await work.conversation(conversation)
    if (now?.generation === generation && now.awaited.length > 0) work.put({ ...now, awaited: [] })
  })
}

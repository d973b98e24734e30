import type { Infer } from '@messageu/protocol'
import { type ConversationId, type ConversationsPage, limits as protocol } from '@messageu/protocol/v3'
import type { Asker } from './asker.ts'
import { compareBytes } from './bytes.ts'
import { badAnswer } from './errors.ts'

export type ListedConversation = Infer<typeof ConversationsPage>['conversations'][number]

/** The conversations of the account, in the order of their ids' bytes. Protocol 3 §6.7 */
export async function* conversations(
  asker: Asker,
  { signal }: { signal: AbortSignal },
): AsyncGenerator<ListedConversation> {
  let after: ConversationId | undefined
  for (let count = 0; ; ) {
    const page = await asker.request('conversations', { after }, { signal })
    for (const listed of page.conversations) {
      if (after !== undefined && compareBytes(listed.conversation, after) <= 0)
        throw badAnswer('conversations that are not in the order of their ids')
      if (++count > protocol.conversationsPerAccountMax) throw badAnswer(`more than ${count - 1} conversations`)
      after = listed.conversation
      yield listed
    }
    if (page.isLast) return
    if (page.conversations.length === 0) throw badAnswer('a page of conversations without any')
  }
}

/** Where the devices of the account talk among themselves. Protocol 3 §6.1 */
export async function findOwnDevices(
  asker: Asker,
  options: { signal: AbortSignal },
): Promise<ConversationId | undefined> {
  for await (const { conversation, kind } of conversations(asker, options))
    if (kind === 'own-devices') return conversation
  return undefined
}

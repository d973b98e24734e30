import type { View } from '@messageu/e2ee/conversation'
import { sameBytes } from '../bytes.ts'
import type { ConversationRow } from './rows.ts'
import type { Work } from './work.ts'

/** A direct conversation knows whom it is with, and whom it is with knows the conversation. */
export async function noteDirect(
  work: Work,
  row: ConversationRow,
  { kind, invited, conversation }: View,
): Promise<ConversationRow> {
  const own = work.me.self.account
  const other = kind === 'direct' ? invited.find((account) => !sameBytes(account, own)) : undefined
  const about = kind === 'self' ? own : other
  const contact = about && (await work.contact(about))
  if (contact !== undefined) {
    // taking part is accepting, as at the server
    const standing = row.standing.kind === 'active' && contact.standing === 'stranger' ? 'accepted' : contact.standing
    work.putContact({ ...contact, direct: conversation, standing })
  }
  return { ...row, peer: other }
}

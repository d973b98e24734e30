import type { View } from '@messageu/e2ee/conversation'
import { sameBytes } from '../bytes.ts'
import { decide } from './requests.ts'
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
  const noted = { ...row, peer: other }
  if (contact === undefined) return noted
  const known = { ...contact, direct: conversation }
  if (row.standing.kind === 'active' && contact.standing === 'stranger') {
    work.put(noted) // from here on it is none of the requests that are accepted with it
    await decide(work, known, 'accepted') // taking part is accepting, as at the server
  } else work.putContact(known)
  return noted
}

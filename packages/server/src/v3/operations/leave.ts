import { partsOf } from '../conversations.ts'
import { leave as leaveConversation } from '../regenerating.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.9. */
export const leave: Handler<'leave'> = async (services, session, { conversation }) => {
  await leaveConversation(partsOf(services), session.device, conversation)
  return undefined
}

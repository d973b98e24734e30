import { partsOf } from '../conversations.ts'
import { open as openConversation } from '../opening.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.2. */
export const open: Handler<'open'> = (services, session, request) =>
  openConversation(partsOf(services), session.device, request)

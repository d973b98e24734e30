import { partsOf } from '../conversations.ts'
import { list } from '../reading.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.7. */
export const conversations: Handler<'conversations'> = (services, session, { after }) =>
  list(partsOf(services), session.device, after)

import { partsOf } from '../conversations.ts'
import { reportStuck } from '../regenerating.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.9. */
export const stuck: Handler<'stuck'> = async (services, session, request) => {
  await reportStuck(partsOf(services), session.device, request)
  return undefined
}

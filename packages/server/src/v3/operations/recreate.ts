import { partsOf } from '../conversations.ts'
import { recreate as beginAnew } from '../regenerating.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.8. */
export const recreate: Handler<'recreate'> = (services, session, request) =>
  beginAnew(partsOf(services), session.device, request)

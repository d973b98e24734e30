import { commit as acceptCommit } from '../committing.ts'
import { partsOf } from '../conversations.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.4. */
export const commit: Handler<'commit'> = (services, session, request) =>
  acceptCommit(partsOf(services), session.device, request)

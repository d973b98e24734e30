import { partsOf } from '../conversations.ts'
import { readState as stateOf } from '../reading.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.7. */
export const readState: Handler<'read-state'> = (services, session, { conversation }) =>
  stateOf(partsOf(services), session.device, conversation)

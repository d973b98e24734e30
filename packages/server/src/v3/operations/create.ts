import { partsOf } from '../conversations.ts'
import { create as createGroup } from '../opening.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.3. */
export const create: Handler<'create'> = (services, session, { conversation }) =>
  createGroup(partsOf(services), session.device, conversation)

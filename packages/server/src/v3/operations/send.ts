import { partsOf } from '../conversations.ts'
import { send as acceptMessage } from '../sending.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §6.6. */
export const send: Handler<'send'> = (services, session, request) =>
  acceptMessage(partsOf(services), session.device, request)

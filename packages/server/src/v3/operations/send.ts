import { partsOf } from '../conversations.ts'
import { send as acceptMessage } from '../sending.ts'
import type { DirectHandler } from '../services.ts'

/** Protocol 3 §6.6. */
export const send: DirectHandler<'send'> = (services, session, request) =>
  acceptMessage(partsOf(services), session.device, request)

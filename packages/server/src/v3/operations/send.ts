import { partsOf } from '../conversations.ts'
import { SendGathering } from '../sendgathering.ts'
import type { GatheringHandler } from '../services.ts'

/** Protocol 3 §6.6. */
export const send: GatheringHandler = (services, session, replies) =>
  new SendGathering(partsOf(services), session.device, replies)

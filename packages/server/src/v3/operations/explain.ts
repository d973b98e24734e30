import { partsOf } from '../conversations.ts'
import { explain as explainGaps } from '../gaps.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §7.4. */
export const explain: Handler<'explain'> = (services, session, request) =>
  explainGaps(partsOf(services), session.device, request)

import type { Handler } from '../services.ts'

/** Protocol 3 §7.2. */
export const credit: Handler<'credit'> = ({ deliveries }, session, more) =>
  deliveries.credit(session, more)?.then(() => undefined)

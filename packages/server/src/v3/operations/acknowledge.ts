import type { Handler } from '../services.ts'

/** Protocol 3 §7.3. */
export const acknowledge: Handler<'acknowledge'> = async ({ deliveries }, session, { through }) => {
  await deliveries.acknowledge(session, through)
  return undefined
}

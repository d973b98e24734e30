import type { Handler } from '../services.ts'

/** Protocol 3 §9.3. */
export const invite: Handler<'invite'> = ({ directory }, _, { isAdmin }) => directory.invite({ isAdmin })

import type { Handler } from '../services.ts'

/** Protocol 3 §8. */
export const requests: Handler<'requests'> = ({ contacts }, { device }) => contacts.requests(device.account)

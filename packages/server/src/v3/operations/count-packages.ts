import type { Handler } from '../services.ts'

/** Protocol 3 §5.4. */
export const countPackages: Handler<'count-packages'> = ({ directory }, { device }) => directory.countPackages(device)

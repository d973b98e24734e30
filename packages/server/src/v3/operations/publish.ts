import type { Handler } from '../services.ts'

/** Protocol 3 §5.4. */
export const publish: Handler<'publish'> = ({ directory }, { device }, packages) => directory.publish(device, packages)

import { RefusedError } from '@messageu/protocol/v3'
import { appended } from '../lists.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §5.3. */
export const append: Handler<'append'> = async ({ directory }, { device }, { account, entry }) => {
  if (Buffer.compare(account, device.account.id) !== 0)
    throw new RefusedError('not-permitted', 'the list belongs to another account')
  await directory.append(device.account, entry)
  return appended(entry)
}

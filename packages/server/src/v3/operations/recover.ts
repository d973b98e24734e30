import { RefusedError } from '@messageu/protocol/v3'
import { appended } from '../lists.ts'
import type { Handler } from '../services.ts'

/** Protocol 3 §5.3. */
export const recover: Handler<'recover'> = async ({ directory }, _, { account: id, entry }) => {
  const account = await directory.account(id)
  if (account === undefined) throw new RefusedError('not-permitted', 'no such account')
  await directory.append(account, entry)
  return appended(entry)
}

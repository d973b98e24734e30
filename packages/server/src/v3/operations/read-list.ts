import { limits, RefusedError } from '@messageu/protocol/v3'
import type { Handler } from '../services.ts'

/** Whoever knows an account's id may read its list: recovery has nothing else. Protocol 3 §5.2. */
export const readList: Handler<'read-list'> = async ({ directory }, _, { account: id, after }) => {
  const account = await directory.account(id)
  if (account === undefined) throw new RefusedError('not-permitted', 'no such account')
  const entries = await directory.entries(account, after, limits.pageMax)
  return { version: account.list.version, entries }
}

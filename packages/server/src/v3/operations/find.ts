import { malformed } from '@messageu/protocol'
import { isPresent, personOf } from '../person.ts'
import type { Handler } from '../services.ts'

/** Names are no secret: who has blocked the asker is found as before. Protocol 3 §5.2. */
export const find: Handler<'find'> = async ({ directory }, _, { after: name }) => {
  if (name === undefined) throw malformed('no name to look for')
  const account = await directory.accountByName(name)
  return account && isPresent(account) ? personOf(account) : undefined
}

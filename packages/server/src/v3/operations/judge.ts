import { RefusedError } from '@messageu/protocol/v3'
import type { Handler } from '../services.ts'

/** Protocol 3 §8. */
export const judge: Handler<'judge'> = async ({ directory, contacts }, { device }, { account: id, verdict }) => {
  const other = await directory.account(id)
  if (other === undefined) throw new RefusedError('not-permitted', 'no such account')
  await contacts.judge(device.account, other, verdict)
}

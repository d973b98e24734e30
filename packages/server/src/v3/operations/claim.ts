import { RefusedError } from '@messageu/protocol/v3'
import type { Handler } from '../services.ts'

/** Whoever is blocked is told what is told of an account that does not exist. Protocol 3 §5.4. */
export const claim: Handler<'claim'> = async ({ directory, contacts }, { device }, id) => {
  const account = await directory.account(id)
  const standing = account && (await contacts.standing(device.account, account))
  if (account === undefined || standing === 'blocked') throw new RefusedError('not-permitted', 'no such account')
  return directory.claim(device.account, account, standing === 'accepted')
}

import { RefusedError } from '@messageu/protocol/v3'
import type { Handler } from '../services.ts'

/** Protocol 3 §9.4. */
export const setAccount: Handler<'set-account'> = async ({ directory }, _, setting) => {
  const account = await directory.account(setting.body.account)
  if (account === undefined) throw new RefusedError('not-permitted', 'no such account')
  switch (setting.kind) {
    case 'quota':
      await directory.set(account, { quotaBytes: setting.body.bytes })
      return
    case 'disabled':
      await directory.set(account, { isDisabled: setting.body.isDisabled })
  }
}

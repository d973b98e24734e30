import { limits } from '@messageu/protocol/v3'
import type { Account, Conversations, Handler } from '../services.ts'

/** Protocol 3 §9.4. */
export const accounts: Handler<'accounts'> = async ({ directory, conversations }, _, { after }) => {
  const found = await directory.accountsAfter(after, limits.pageMax + 1)
  const page = found.slice(0, limits.pageMax)
  return {
    accounts: await Promise.all(page.map((account) => described(account, conversations))),
    isLast: found.length <= limits.pageMax,
  }
}

async function described(account: Account, conversations: Conversations) {
  const { id, name, isAdmin, isDisabled, devices, quotaBytes, createdAt } = account
  const storedBytes = await conversations.storedBytes(account)
  return { account: id, name, isAdmin, isDisabled, devices: devices.length, storedBytes, quotaBytes, createdAt }
}

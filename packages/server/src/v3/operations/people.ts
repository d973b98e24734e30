import { type AccountName, limits } from '@messageu/protocol/v3'
import { isPresent, personOf } from '../person.ts'
import type { Account, Directory, Handler } from '../services.ts'

/** Everybody or those one shares a conversation with, as the operator has chosen. Protocol 3 §5.2. */
export const people: Handler<'people'> = async ({ directory, conversations, policy }, { device }, { after }) => {
  const isShown = (account: Account): boolean => account !== device.account && isPresent(account)
  const source = policy.directory ? directory : knownTo(await conversations.acquaintances(device.account))
  const { shown, isLast } = await page(source, after, isShown)
  return { isDirectory: policy.directory, people: shown.map(personOf), isLast }
}

type Source = Pick<Directory, 'accountsAfter'>

/** A page that is not the last is full, however many are passed over. */
async function page(
  source: Source,
  after: AccountName | undefined,
  isShown: (account: Account) => boolean,
): Promise<{ shown: readonly Account[]; isLast: boolean }> {
  const shown: Account[] = []
  let behind = after
  while (shown.length <= limits.pageMax) {
    const accounts = await source.accountsAfter(behind, limits.pageMax + 1)
    shown.push(...accounts.filter(isShown))
    behind = accounts.at(-1)?.name
    if (accounts.length <= limits.pageMax) break
  }
  return { shown: shown.slice(0, limits.pageMax), isLast: shown.length <= limits.pageMax }
}

function knownTo(acquaintances: readonly Account[]): Source {
  const inOrder = acquaintances.toSorted((one, other) => compareNames(one.name, other.name))
  return {
    accountsAfter: async (name, limit) =>
      inOrder.filter((account) => name === undefined || compareNames(account.name, name) > 0).slice(0, limit),
  }
}

/** By their bytes, as names are listed: code units would put what lies beyond U+FFFF elsewhere. */
function compareNames(one: AccountName, other: AccountName): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}

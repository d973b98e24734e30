import { ConversationError, checkKeyPackage, type View, view } from '@messageu/e2ee/conversation'
import { type AccountId, type ClaimedPackage, type ConversationId, RefusedError } from '@messageu/protocol/v3'
import { isAmong, sameBytes } from '../bytes.ts'
import { commit, newestLists } from './commits-out.ts'
import { type Desk, look, type Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import { write } from './writing.ts'

/**
 * Brings the devices of these accounts in that are not here yet, as far as they have a good key package at the server.
 * Returns the accounts of which no device is here afterwards. CONVERSATIONS D 1, C 12
 */
export async function bringIn(
  desk: Desk,
  conversation: ConversationId,
  accounts: readonly AccountId[],
  { signal }: Wait,
): Promise<readonly AccountId[]> {
  const offered: Offered[] = []
  for (const account of accounts) {
    await desk.tools.lists.refresh(desk.store, account, { asker: desk.session.asker, signal })
    offered.push(...(await offeredBy(desk, conversation, account, { signal })))
  }
  for (let from = 0; from < offered.length; from += limits.addsPerCommit) {
    const part = offered.slice(from, from + limits.addsPerCommit)
    await commit(
      desk,
      conversation,
      async ({ state }) => {
        const { roster, suite } = view(state)
        const good = await stillGood(desk, part, suite)
        const missing = good.filter(({ device }) => !isAmong(device, roster))
        if (missing.length === 0) return undefined
        const wish = { kind: 'add', keyPackages: missing.map(({ keyPackage }) => keyPackage) } as const
        return { wish, accounts: distinct(missing.map(({ account }) => account)) }
      },
      { signal },
    )
  }
  const state = await look(desk).state(conversation)
  const here = state === undefined ? [] : view(state).members
  return accounts.filter((account) => !here.some((member) => sameBytes(member.account, account)))
}

interface Offered extends ClaimedPackage {
  readonly account: AccountId
}

/** What the server hands out for the devices that are missing. A bad package is told, and its device stays out. S08 */
async function offeredBy(
  desk: Desk,
  conversation: ConversationId,
  account: AccountId,
  { signal }: Wait,
): Promise<readonly Offered[]> {
  const work = look(desk)
  const state = await work.state(conversation)
  const list = await desk.tools.lists.newest(desk.store, account)
  if (state === undefined || list === undefined) return []
  const { roster, suite } = view(state)
  const missing = list.devices.filter(({ device }) => !isAmong(device, roster))
  if (missing.length === 0) return []
  const lists = await newestLists(work, [account])
  const good: Offered[] = []
  for (const claimed of await claimedFrom(desk, account, { signal })) {
    const isHere = good.some(({ device }) => sameBytes(device, claimed.device))
    if (isHere || !missing.some(({ device }) => sameBytes(device, claimed.device))) continue
    try {
      await checkKeyPackage(claimed.keyPackage, { lists, suite, now: desk.clock.nowMs() })
      good.push({ ...claimed, account })
    } catch (error) {
      if (!(error instanceof ConversationError)) throw error
      const { reason } = error
      await write(desk, (each) => each.tell({ kind: 'package', body: { account, device: claimed.device, reason } }))
    }
  }
  return good
}

/** Whoever has refused this account is to it as one that is not there, and keeps nobody else from coming. */
async function claimedFrom(desk: Desk, account: AccountId, wait: Wait): Promise<readonly ClaimedPackage[]> {
  try {
    return await desk.session.request('claim', account, wait)
  } catch (error) {
    if (error instanceof RefusedError && error.reason === 'not-permitted') return []
    throw error
  }
}

/** However long it takes from the claim to the commit: a device forgets what opens a Welcome when its package is over. */
async function stillGood(desk: Desk, offered: readonly Offered[], suite: View['suite']): Promise<readonly Offered[]> {
  const good: Offered[] = []
  for (const each of offered) {
    const lists = await newestLists(look(desk), [each.account])
    const isGood = await checkKeyPackage(each.keyPackage, { lists, suite, now: desk.clock.nowMs() }).then(
      () => true,
      (error: unknown) => {
        if (error instanceof ConversationError) return false
        throw error
      },
    )
    if (isGood) good.push(each)
  }
  return good
}

function distinct(accounts: readonly AccountId[]): readonly AccountId[] {
  return accounts.filter((account, i) => accounts.findIndex((each) => sameBytes(each, account)) === i)
}

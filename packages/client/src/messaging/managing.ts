import { changeManager, newSeed, type Secret, type SigningKey, signingKey, type VerifiedList } from '@messageu/e2ee'
import { type ConversationId, RefusedError } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { ClientError } from '../errors.ts'
import { type AccountRow, accountKeys, accountRow, dropRow, getRow, nextManagerRow, putRow } from '../rows.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { write } from './writing.ts'

/** How often somebody else may change the list between our reading and our writing. */
const appendsMax = 5

/** The account as it is stored: which device this is, and whether it manages. */
export async function accountOf({ store }: Pick<Desk, 'store'>): Promise<AccountRow> {
  const account = await getRow(store, accountRow, accountKeys.account)
  if (account === undefined) throw new ClientError('not-registered', 'this profile has no account yet')
  return account
}

/** The conversation of the own devices, if this device is in it and not alone. */
export async function amongOwn(desk: Desk): Promise<ConversationId | undefined> {
  const { ownDevices: conversation } = await accountOf(desk)
  const row = conversation && (await rowOf(desk, conversation))
  return row?.standing.kind === 'active' && (await hasSiblings(desk)) ? row.conversation : undefined
}

export async function hasSiblings({ store, tools }: Desk): Promise<boolean> {
  const list = await tools.lists.newest(store, tools.me.self.account)
  return (list?.devices.length ?? 0) > 1
}

/**
 * Appends what `entry` makes of the newest list to the list of one's own account; nothing where it makes nothing of it.
 * Throws `not-manager` on a device that does not manage the account. Protocol 3 §5.3
 */
export async function append(
  desk: Desk,
  entry: (list: VerifiedList, key: SigningKey) => Promise<Uint8Array | undefined>,
  { signal }: Wait,
): Promise<VerifiedList> {
  const { session, store, tools } = desk
  const { account } = tools.me.self
  for (let attempt = 1; ; attempt++) {
    const list = await tools.lists.refresh(store, account, { asker: session.asker, signal })
    const bytes = await entry(list, (await managerOf(desk, list)).key)
    if (bytes === undefined) return list
    try {
      await session.request('append', { account, entry: bytes }, { signal })
    } catch (error) {
      const isStale = error instanceof RefusedError && error.reason === 'stale-list'
      if (!isStale || attempt === appendsMax) throw error
    }
  }
}

/** Throws `not-manager` on a device that does not manage the account, by the newest list that is known here. */
export async function mustManage(desk: Desk): Promise<void> {
  const list = await desk.tools.lists.newest(desk.store, desk.tools.me.self.account)
  if (list !== undefined) await managerOf(desk, list)
}

/**
 * From now on another key manages the account, and only this device has it. It is stored before anybody sees it; one that
 * was stored before may be on the list by now, or come there yet, and is not given up for another one.
 */
export async function renewManager(desk: Desk, wait: Wait): Promise<void> {
  const seed = await write(desk, async ({ store }) => {
    const begun = await getRow(store, nextManagerRow, accountKeys.nextManager)
    const next = begun ?? { seed: newSeed(desk.random) }
    store.put(putRow(nextManagerRow, accountKeys.nextManager, next))
    return next.seed
  })
  const { publicKey } = await signingKey(seed)
  const list = await append(
    desk,
    async (now, key) => (sameBytes(now.managerKey, publicKey) ? undefined : changeManager(now, key, publicKey)),
    wait,
  )
  await managerOf(desk, list)
}

/** The key that manages the list as it is now. */
export async function managerOf(desk: Desk, { managerKey }: VerifiedList): Promise<{ key: SigningKey; seed: Secret }> {
  const { identity } = await accountOf(desk)
  const next = await getRow(desk.store, nextManagerRow, accountKeys.nextManager)
  for (const seed of [identity.managerSeed, next?.seed]) {
    const key = seed && (await signingKey(seed))
    if (seed === undefined || key === undefined || !sameBytes(key.publicKey, managerKey)) continue
    if (seed === next?.seed) await adopt(desk, seed)
    return { key, seed }
  }
  throw new ClientError('not-manager', 'this device does not manage the account')
}

async function adopt(desk: Desk, managerSeed: Secret): Promise<void> {
  await write(desk, async ({ store }) => {
    const account = await accountOf({ store: desk.store })
    const identity = { ...account.identity, managerSeed }
    store.put(putRow(accountRow, accountKeys.account, { ...account, identity }))
    store.put(dropRow(nextManagerRow, accountKeys.nextManager))
  })
}

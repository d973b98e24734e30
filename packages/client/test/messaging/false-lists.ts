import assert from 'node:assert/strict'
import { changeManager, newSeed, signingKey, verifyList } from '@messageu/e2ee'
import { type AccountId, type DeviceId, toBase64url } from '@messageu/protocol/v3'
import { accountKeys, accountRow, getRow } from '../../src/rows.ts'
import { done, type FakeServer, requested } from '../fake-server.ts'
import { random } from '../world.ts'
import { same } from './ledger.ts'
import type { Device } from './people.ts'

/** To this device the server shows these entries as the list of an account, and says so. */
export function showList(
  server: FakeServer,
  to: DeviceId,
  { account, entries }: { account: AccountId; entries: readonly Uint8Array[] },
): void {
  const version = entries.length
  server.lie = (name, body, { device }) => {
    if (name !== 'read-list' || device === undefined || !same(device, to)) return undefined
    const request = requested('read-list', body)
    if (!same(request.account, account)) return undefined
    return { kind: 'answer', body: done('read-list', { version, entries: entries.slice(request.after) }) }
  }
}

export function entriesOf(server: FakeServer, account: AccountId): readonly Uint8Array[] {
  return server.lists.get(toBase64url(account))?.entries ?? []
}

/** These entries, and more that the account's own key has signed: another history than everybody else sees. */
export async function continuedBy(
  { store }: Device,
  entries: readonly Uint8Array[],
  more: number,
): Promise<readonly Uint8Array[]> {
  const account = await getRow(store, accountRow, accountKeys.account)
  let seed = account?.identity.managerSeed
  const longer = [...entries]
  for (let entry = 0; entry < more; entry++) {
    assert(seed)
    const next = newSeed(random)
    const { publicKey } = await signingKey(next)
    longer.push(await changeManager(await verifyList(longer), await signingKey(seed), publicKey))
    seed = next
  }
  return longer
}

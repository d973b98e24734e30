import { type AccountId, type DeviceId, toBase64url } from '@messageu/protocol/v3'
import { done, type FakeServer, requested } from '../fake-server.ts'
import { same } from './ledger.ts'

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

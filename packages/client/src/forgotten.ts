import { verifyList } from '@messageu/e2ee'
import type { Link, RefusedError } from '@messageu/protocol/v3'
import type { Asker } from './asker.ts'
import type { World } from './connection.ts'
import { ClientError } from './errors.ts'
import { appendAll, entriesLost } from './giving-back.ts'
import { isOn, readList } from './lists.ts'
import { openWire } from './registering.ts'
import { getRow, type IdentityRow, listRow } from './rows.ts'
import type { RowStore } from './store.ts'

interface Unknown {
  readonly identity: IdentityRow
  readonly store: RowStore
  readonly world: World
  readonly signal: AbortSignal
}

/**
 * What it means that the server does not know this device: nothing but `why`, unless its list of the account is the beginning
 * of the one that is known here, which has the device: what it has forgotten is given back, and the proof tried again (`lost`).
 * `listed` if another device has just done so.
 */
export async function whyUnknown(
  { identity, store, world, signal }: Unknown,
  why: RefusedError,
): Promise<Error | 'listed'> {
  const { account, device, host, port, serverKey } = identity
  const seen = await getRow(store, listRow, account)
  if (seen === undefined) return why
  if (!isOn(await verifyList(seen.entries, { account, serverKey }), device)) return why
  const link: Link = { host, port, serverKey, invite: undefined }
  using wire = await openWire({ link, world, signal })
  const lost = await entriesLost(wire, account, { entries: seen.entries, signal })
  if (lost.length === 0) return (await isListed(wire, { identity, store, world, signal })) ? 'listed' : why
  const isTaken = await appendAll(wire, 'recover', { account, entries: lost, signal })
  return isTaken ? new ClientError('lost', 'the server has been told of this device again') : why
}

async function isListed(asker: Asker, { identity, store, world: { clock }, signal }: Unknown): Promise<boolean> {
  const { account, device, serverKey } = identity
  try {
    return isOn(await readList({ asker, store, clock, serverKey }, account, { signal }), device)
  } catch (error) {
    // a list that is not the one that is known here has an alarm, and does not have this device
    if (error instanceof ClientError && (error.reason === 'older-list' || error.reason === 'forked-list')) return false
    throw error
  }
}

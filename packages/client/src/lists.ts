import {
  continueVerified,
  IdentityError,
  judgeList,
  type SeenList,
  type VerifiedList,
  verifyList,
} from '@messageu/e2ee'
import { ProtocolError } from '@messageu/protocol'
import { type AccountId, type DeviceId, type PublicKey, limits as protocol } from '@messageu/protocol/v3'
import { alarmChange, alarmError } from './alarms.ts'
import type { Asker } from './asker.ts'
import { sameBytes } from './bytes.ts'
import type { Clock } from './clock.ts'
import { badAnswer, type ClientError } from './errors.ts'
import { giveBack } from './giving-back.ts'
import { getRow, listRow, putRow } from './rows.ts'
import { change, type RowStore } from './store.ts'

/** Whether a device stands on a list of its account. */
export function isOn({ devices }: Pick<VerifiedList, 'devices'>, device: DeviceId): boolean {
  return devices.some((listed) => sameBytes(listed.device, device))
}

export interface ListSource {
  readonly asker: Asker
  readonly store: RowStore
  readonly clock: Clock
  readonly serverKey: PublicKey
  /** Whose device asks, once it is one: what the server has forgotten of that list, it is given back. */
  readonly own?: AccountId
}

/**
 * The device list of an account as it is now: every signature holds, and it continues what was seen of it before. Throws
 * `older-list` or `forked-list`, after keeping the alarm, for a list that does not. CONVERSATIONS A 7, Protocol 3 §4.5.
 *
 * `told` is what somebody said that the list is by now: a list that was seen in this state already is not read again. An
 * older `told` proves nothing, since more may have been read meanwhile. `known` is what was verified of the list before:
 * where that is what is stored, only what has come since is verified.
 */
export async function readList(
  source: ListSource,
  account: AccountId,
  { signal, told, known }: { signal: AbortSignal; told?: SeenList; known?: VerifiedList | undefined },
): Promise<VerifiedList> {
  const { store, serverKey } = source
  const seen = await getRow(store, listRow, account)
  if (seen === undefined) {
    const entries = (await fetchEntries(source.asker, account, 0, signal)) ?? []
    return keep(source, entries, await verified(entries, { account, serverKey }))
  }
  if (told?.version === seen.version && !sameBytes(told.hash, seen.hash)) return reread(source, account, seen, signal)
  const isKnown = known?.version === seen.version && sameBytes(known.hash, seen.hash)
  const continued = (more: readonly Uint8Array[]): Promise<VerifiedList> =>
    isKnown ? continueVerified(known, more) : verifyList([...seen.entries, ...more], { account, serverKey })
  if (told?.version === seen.version) return continued([])
  let more = await fetchEntries(source.asker, account, seen.version, signal)
  if (more === undefined && source.own !== undefined && sameBytes(source.own, account)) {
    await giveBack(source.asker, account, { entries: seen.entries, signal })
    more = await fetchEntries(source.asker, account, seen.version, signal)
  }
  if (more === undefined) {
    const { name } = await continued([])
    throw await alarm(source, account, 'older-list', name)
  }
  const list = await continued(more).catch(refusedList)
  return list === undefined ? reread(source, account, seen, signal) : keep(source, [...seen.entries, ...more], list)
}

/** From its first entry on: something does not fit what was seen, and this tells what. */
async function reread(
  source: ListSource,
  account: AccountId,
  seen: SeenList,
  signal: AbortSignal,
): Promise<VerifiedList> {
  const entries = (await fetchEntries(source.asker, account, 0, signal)) ?? []
  const list = await verified(entries, { account, serverKey: source.serverKey })
  try {
    judgeList(seen, list)
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error
    throw await alarm(source, account, error.reason === 'list-older' ? 'older-list' : 'forked-list', list.name)
  }
  return keep(source, entries, list)
}

/**
 * Every entry behind version `after`; nothing if the list does not reach that far. Each page brings some, and a list has
 * an end: a server cannot make this endless.
 */
async function fetchEntries(
  asker: Asker,
  account: AccountId,
  after: number,
  signal: AbortSignal,
): Promise<readonly Uint8Array[] | undefined> {
  const entries: Uint8Array[] = []
  for (;;) {
    const version = after + entries.length
    const page = await asker.request('read-list', { account, after: version }, { signal })
    if (page.version < version && entries.length === 0) return undefined
    if (page.version > protocol.listEntriesMax) throw badAnswer(`a device list with ${page.version} entries`)
    if (version + page.entries.length > page.version) throw badAnswer('more entries than the device list has')
    if (page.version > version && page.entries.length === 0) throw badAnswer('a page of a device list without entries')
    entries.push(...page.entries)
    if (after + entries.length === page.version) return entries
  }
}

async function keep({ store }: ListSource, entries: readonly Uint8Array[], list: VerifiedList): Promise<VerifiedList> {
  const { account, version, hash } = list
  await change(store, async () => {
    const now = await getRow(store, listRow, account)
    // somebody who read it at the same time may have seen more
    const isNews = now === undefined || now.version < version
    return { changes: isNews ? [putRow(listRow, account, { version, hash, entries })] : [], result: undefined }
  })
  return list
}

async function alarm(
  { store, clock }: ListSource,
  account: AccountId,
  kind: 'older-list' | 'forked-list',
  name: string,
): Promise<ClientError> {
  const row = alarmChange({ account, kind, name, at: clock.nowMs() })
  await change(store, async () => ({ changes: [row], result: undefined }))
  return alarmError({ kind, name })
}

async function verified(
  entries: readonly Uint8Array[],
  expected: { account: AccountId; serverKey: PublicKey },
): Promise<VerifiedList> {
  try {
    return await verifyList(entries, expected)
  } catch (error) {
    if (error instanceof ProtocolError) throw badAnswer(`a device list that does not hold: ${error.message}`, error)
    throw error
  }
}

function refusedList(error: unknown): undefined {
  if (!(error instanceof ProtocolError)) throw error
}

import type { DeviceId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { accountKeys, accountRow, dropRow, getRow, putRow, rowsOf } from '../rows.ts'
import type { RowStore } from '../store.ts'
import { newcomerKey } from './errands.ts'
import { type ConversationRow, type Entry, type Errand, errandRow, historyRow, type Person } from './rows.ts'
import { historyKey, type Work } from './work.ts'

// Devices of the own account that are to be given what came before them. Protocol 3 §6.11

export type Newcomer = Extract<Errand, { kind: 'newcomer' }>['body']

export async function newcomerOf(store: Pick<RowStore, 'get'>, device: DeviceId): Promise<Newcomer | undefined> {
  const errand = await getRow(store, errandRow, newcomerKey(device))
  return errand?.kind === 'newcomer' ? errand.body : undefined
}

export async function newcomersIn(store: Pick<RowStore, 'read'>): Promise<readonly Newcomer[]> {
  const found: Newcomer[] = []
  for await (const { row } of rowsOf(store, errandRow)) if (row.kind === 'newcomer') found.push(row.body)
  return found
}

export function putNewcomer(work: Work, newcomer: Newcomer): void {
  work.store.put(putRow(errandRow, newcomerKey(newcomer.device), { kind: 'newcomer', body: newcomer }))
}

export function dropNewcomer(work: Work, device: DeviceId): void {
  work.store.put(dropRow(errandRow, newcomerKey(device)))
}

/** The user lets it in with this device. What it was given before it need not be given again. */
export async function noteAdmitted(
  work: Work,
  { device, isManager }: Pick<Newcomer, 'device' | 'isManager'>,
): Promise<void> {
  const known = (await newcomerOf(work.store, device)) ?? begun(device)
  putNewcomer(work, { ...known, isAdmitted: true, isManager: known.isManager || isManager })
}

/** Devices have come among the own ones. One that was there before a conversation was begun anew has everything. */
export async function noteArrived(work: Work, row: ConversationRow, arrived: readonly Person[]): Promise<void> {
  for (const { device } of arrived) {
    const isKnown = (await newcomerOf(work.store, device)) !== undefined
    if (!isKnown && !(await wasHere(work, row, device))) putNewcomer(work, begun(device))
  }
}

/** This device was brought among the own ones for the first time. */
export async function noteJoined(work: Work): Promise<void> {
  const account = await getRow(work.store, accountRow, accountKeys.account)
  if (account?.origin === 'linked') putNewcomer(work, begun(work.me.self.device))
}

/** A sibling has given it everything but the key that manages the account, if the user wants it to have that. */
export async function noteSettled(work: Work, device: DeviceId): Promise<void> {
  const known = await newcomerOf(work.store, device)
  if (known !== undefined && !known.isManager) dropNewcomer(work, device)
}

function begun(device: DeviceId): Newcomer {
  return { device, isAdmitted: false, isManager: false, contact: undefined, history: undefined }
}

async function wasHere(work: Work, row: ConversationRow, device: DeviceId): Promise<boolean> {
  for await (const { row: item } of rowsOf(work.store, historyRow, { after: historyKey(row, 0) })) {
    if (!sameBytes(item.conversation, row.conversation)) return false
    if (peopleIn(item.entry).some((each) => sameBytes(each.device, device))) return true
  }
  return false
}

function peopleIn(entry: Entry): readonly Person[] {
  switch (entry.kind) {
    case 'change':
      return entry.body.arrived
    case 'joined':
      return entry.body.members
    case 'message':
    case 'unopened':
    case 'gap':
      return []
  }
}

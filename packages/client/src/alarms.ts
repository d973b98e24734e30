import { utf8Encode } from '@messageu/protocol'
import type { AccountId, AccountName } from '@messageu/protocol/v3'
import { ClientError } from './errors.ts'
import {
  type Alarm,
  alarmKinds,
  alarmRow,
  dropRow,
  getRow,
  type PinRow,
  pinRow,
  putRow,
  rowsOf,
  turningDown,
} from './rows.ts'
import { type Change, change, type Store } from './store.ts'

/** What keeps an alarm. About one thing there is one, however often it is seen: a server cannot fill the store with them. */
export function alarmChange(alarm: Alarm): Change {
  return putRow(alarmRow, alarmKey(alarm), alarm)
}

export function alarmKey({
  kind,
  name,
  account,
}: Pick<Alarm, 'kind' | 'account'> & { name?: string | undefined }): Uint8Array {
  return kind === 'other-account' ? keyOfName(name ?? '') : keyOfAccount(kind, account)
}

export function alarmError({ kind, name }: Pick<Alarm, 'kind' | 'name'>): ClientError {
  return new ClientError(kind, sentences[kind](name ?? 'an account'))
}

/** What the user has to be told, and has not yet decided about. */
export async function readAlarms(store: Store): Promise<readonly Alarm[]> {
  const alarms: Alarm[] = []
  for await (const { row } of rowsOf(store, alarmRow)) alarms.push(row)
  return alarms
}

/** From now on the name stands for the account that the alarm told of: the user has compared safety numbers. */
export function acceptAccount(store: Store, name: AccountName): Promise<AccountId | undefined> {
  return decide(store, name, (_, account) => ({ account, turnedDown: [] }))
}

/** The name goes on standing for the account that it stood for; the other one raises no alarm again. */
export function keepAccount(store: Store, name: AccountName): Promise<AccountId | undefined> {
  return decide(store, name, turningDown)
}

/** Resolves with the account that the alarm told of, if there is one about this name. */
function decide(
  store: Store,
  name: AccountName,
  pinned: (before: PinRow, other: AccountId) => PinRow,
): Promise<AccountId | undefined> {
  const alarmKey = keyOfName(name)
  return change(store, async () => {
    const alarm = await getRow(store, alarmRow, alarmKey)
    const before = await getRow(store, pinRow, utf8Encode(name))
    if (alarm === undefined || before === undefined) return { changes: [], result: undefined }
    const pin = putRow(pinRow, utf8Encode(name), pinned(before, alarm.account))
    return { changes: [pin, dropRow(alarmRow, alarmKey)], result: alarm.account }
  })
}

function keyOfName(name: string): Uint8Array {
  return Uint8Array.of(alarmKinds['other-account'], ...utf8Encode(name))
}

function keyOfAccount(kind: Alarm['kind'], account: AccountId): Uint8Array {
  return Uint8Array.of(alarmKinds[kind], ...account)
}

const sentences: Readonly<Record<Alarm['kind'], (who: string) => string>> = {
  'other-account': (who) => `the name ${who} stands for another account than when it was first seen`,
  'older-list': (who) => `the server shows an older device list of ${who} than it did before`,
  'forked-list': (who) => `the server shows a device list of ${who} that contradicts the one it showed before`,
}

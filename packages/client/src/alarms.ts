import { utf8Encode } from '@messageu/protocol'
import type { AccountId, AccountName } from '@messageu/protocol/v3'
import { ClientError } from './errors.ts'
import { type Alarm, alarmKinds, alarmRow, dropRow, getRow, pinRow, putRow, rowsOf } from './rows.ts'
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
export async function acceptAccount(store: Store, name: AccountName): Promise<void> {
  const alarmKey = keyOfName(name)
  await change(store, async () => {
    const alarm = await getRow(store, alarmRow, alarmKey)
    if (alarm === undefined) return { changes: [], result: undefined }
    const pin = putRow(pinRow, utf8Encode(name), { account: alarm.account })
    return { changes: [pin, dropRow(alarmRow, alarmKey)], result: undefined }
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

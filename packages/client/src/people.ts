import { utf8Encode } from '@messageu/protocol'
import { type AccountName, accountName, type Person } from '@messageu/protocol/v3'
import { alarmChange, alarmError, alarmKey } from './alarms.ts'
import { compareBytes, sameBytes } from './bytes.ts'
import { badAnswer, ClientError } from './errors.ts'
import { limits } from './limits.ts'
import type { ListSource } from './lists.ts'
import { alarmRow, getRow, pinCountRow, pinRow, progressKeys, putRow } from './rows.ts'
import { type Change, change, type RowStore } from './store.ts'

interface Standing {
  /** The name stands for another account. */
  readonly isOtherAccount: boolean
  /** The user has decided so: there is no alarm about it. */
  readonly isTurnedDown: boolean
}

export type SeenPerson = Person & Standing

export interface SeenPage {
  /** Whether the operator shows everybody, or only those that one has a conversation with. */
  readonly isDirectory: boolean
  readonly people: readonly SeenPerson[]
}

/** Whoever has exactly this name. Throws `other-account`, after keeping the alarm, for another one than before. */
export async function find(
  source: ListSource,
  name: string,
  { signal }: { signal: AbortSignal },
): Promise<Person | undefined> {
  const wanted = accountName(name)
  const person = await source.asker.request('find', { after: wanted }, { signal })
  if (person === undefined) return undefined
  if (person.name !== wanted) throw badAnswer('it found somebody of another name')
  const [seen] = await pin(source, [person])
  if (seen?.isOtherAccount) throw alarmError({ kind: 'other-account', name: wanted })
  return person
}

/** Everybody that the server shows, page by page, in the order of their names' bytes. Protocol 3 §5.2 */
export async function* people(source: ListSource, { signal }: { signal: AbortSignal }): AsyncGenerator<SeenPage> {
  let after: AccountName | undefined
  for (let count = 0; ; ) {
    const page = await source.asker.request('people', { after }, { signal })
    after = inOrder(page.people, after)
    count += page.people.length
    if (count > limits.peopleMax) throw new ClientError('too-many', `more than ${limits.peopleMax} people`)
    if (!page.isLast && page.people.length === 0) throw badAnswer('a page of people without anybody')
    yield { isDirectory: page.isDirectory, people: await pin(source, page.people) }
    if (page.isLast) return
  }
}

/** The last name; a listing that does not go forward would never end. */
function inOrder(page: readonly Person[], after: AccountName | undefined): AccountName | undefined {
  let last = after
  for (const { name } of page) {
    if (last !== undefined && compareBytes(utf8Encode(name), utf8Encode(last)) <= 0)
      throw badAnswer('people that are not in the order of their names')
    last = name
  }
  return last
}

async function pin({ store, clock }: ListSource, seen: readonly Person[]): Promise<readonly SeenPerson[]> {
  return change(store, async () => {
    const { changes, result, isFull } = await pinning(store, seen, clock.nowMs())
    if (isFull) throw new ClientError('too-many', `more than ${limits.pinsMax} names are known`)
    return { changes, result }
  })
}

/**
 * What keeps at first sight which account a name stands for, and an alarm when it later is another one. Of more names than
 * may be known none is kept. CONVERSATIONS A 5
 */
export async function pinning<P extends Pick<Person, 'name' | 'account'>>(
  store: Pick<RowStore, 'get'>,
  seen: readonly P[],
  at: number,
): Promise<{ changes: readonly Change[]; result: readonly (P & Standing)[]; isFull: boolean }> {
  const before = (await getRow(store, pinCountRow, progressKeys.pins))?.count ?? 0
  let count = before
  let isFull = false
  const changes: Change[] = []
  const result: (P & Standing)[] = []
  for (const person of seen) {
    const { name, account } = person
    const key = utf8Encode(name)
    const pinned = await getRow(store, pinRow, key)
    const isOtherAccount = pinned !== undefined && !sameBytes(pinned.account, account)
    result.push({
      ...person,
      isOtherAccount,
      isTurnedDown: pinned?.turnedDown.some((each) => sameBytes(each, account)) ?? false,
    })
    const alarm = { kind: 'other-account', name, account, at } as const
    // of several the first is what the user decides about: what was compared is what is accepted
    const isNews =
      isOtherAccount &&
      !pinned.turnedDown.some((each) => sameBytes(each, account)) &&
      (await getRow(store, alarmRow, alarmKey(alarm))) === undefined
    if (isNews) changes.push(alarmChange(alarm))
    if (pinned !== undefined) continue
    isFull ||= count === limits.pinsMax
    if (isFull) continue
    count += 1
    changes.push(putRow(pinRow, key, { account, turnedDown: [] }))
  }
  if (count !== before) changes.push(putRow(pinCountRow, progressKeys.pins, { count }))
  return { changes, result, isFull }
}

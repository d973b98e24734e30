import type { ConversationId, SendId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { dropRow, putRow, rowsOf } from '../rows.ts'
import type { Desk, Wait } from './desk.ts'
import { unopenedKey } from './errands.ts'
import { messagingLimits as limits } from './limits.ts'
import { amongOwn } from './managing.ts'
import { type ConversationRow, type Errand, errandRow } from './rows.ts'
import type { Sending } from './sending.ts'
import { write } from './writing.ts'

type Unopened = Extract<Errand, { kind: 'unopened' }>['body']

/**
 * Asks for what could not be opened: first the own devices, among themselves, then whoever wrote it. Returns the
 * milliseconds after which it is to be asked again. CONVERSATIONS C 9
 */
export async function askForUnopened(
  desk: Desk,
  sending: Sending,
  row: ConversationRow,
  wait: Wait,
): Promise<number | undefined> {
  const now = desk.clock.nowMs()
  const open = await unopenedIn(desk, row.conversation)
  const due = open.filter(({ askedAt }) => askedAt + limits.askMs <= now).slice(0, limits.asksMax)
  const siblings = await amongOwn(desk)
  const [first, later] = [due.filter(({ asked }) => asked === 0), due.filter(({ asked }) => asked > 0)]
  if (siblings !== undefined) await ask(desk, sending, { of: row, through: siblings, items: first }, wait)
  const fromAuthors = siblings === undefined ? due : later
  await ask(desk, sending, { of: row, through: row.conversation, items: fromAuthors }, wait)
  const isLeft = open.some(({ asked }) => asked + 1 < limits.askAttempts)
  return isLeft ? limits.askMs : undefined
}

async function ask(
  desk: Desk,
  sending: Sending,
  { of, through, items }: { of: ConversationRow; through: ConversationId; items: readonly Unopened[] },
  wait: Wait,
): Promise<void> {
  if (items.length === 0) return
  const messages: readonly SendId[] = items.map(({ id }) => id)
  await sending.post(through, { kind: 'ask', body: { conversation: of.conversation, messages } }, wait)
  await write(desk, async ({ store, nowMs }) => {
    for (const item of items) {
      const asked = item.asked + 1
      const body = { ...item, asked, askedAt: nowMs }
      const key = unopenedKey(item.place)
      store.put(
        asked >= limits.askAttempts ? dropRow(errandRow, key) : putRow(errandRow, key, { kind: 'unopened', body }),
      )
    }
  })
}

async function unopenedIn(desk: Desk, conversation: ConversationId): Promise<readonly Unopened[]> {
  const found: Unopened[] = []
  for await (const { row } of rowsOf(desk.store, errandRow))
    if (row.kind === 'unopened' && sameBytes(row.body.conversation, conversation)) found.push(row.body)
  return found
}

import { Authored, type Content, type Copy, readAuthored, type View, view } from '@messageu/e2ee/conversation'
import { encode } from '@messageu/protocol'
import type { SendId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { dropRow, readRow, rowsOf } from '../rows.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { errandKey } from './errands.ts'
import { messagingLimits as limits } from './limits.ts'
import { type ConversationRow, type Errand, errandRow, type HistoryRow, historyRow } from './rows.ts'
import type { Sending } from './sending.ts'
import { historyKey } from './work.ts'
import { write } from './writing.ts'

/** How far back what others ask for is looked for. */
const searchMax = 5_000

type Ask = Extract<Errand, { kind: 'copies' }>['body']

/** Answers whoever could not open messages: siblings with all that is here, others with what this device has written. */
export async function answerAsks(desk: Desk, sending: Sending, wait: Wait): Promise<void> {
  const asks: Ask[] = []
  for await (const { row } of rowsOf(desk.store, errandRow)) if (row.kind === 'copies') asks.push(row.body)
  for (const ask of asks) {
    const copies = await copiesFor(desk, ask)
    const through = await rowOf(desk, ask.through)
    if (through?.standing.kind === 'active')
      for (const part of parts(copies)) await sending.post(ask.through, part, wait)
    await write(desk, async ({ store }) =>
      store.put(dropRow(errandRow, errandKey('copies', ask.conversation, ask.asker.account))),
    )
  }
}

/** Everything that was said in a conversation, for a new device of one's own: something also where nothing was said. */
export async function historyOf(desk: Desk, row: ConversationRow): Promise<readonly [Content, ...Content[]]> {
  const { conversation } = row
  const all: Found[] = []
  for await (const found of backwards(desk, row, Number.POSITIVE_INFINITY)) all.push(found)
  const groups = Map.groupBy(all.reverse(), ({ row: { generation } }) => generation)
  const [first, ...others] = [...groups].flatMap(([generation, found]) =>
    parts({ group: { conversation, generation }, copies: found.map(({ copy }) => copy) }),
  )
  if (first !== undefined) return [first, ...others]
  return [{ kind: 'copies', body: { group: { conversation, generation: row.generation }, copies: [] } }]
}

interface Copies {
  readonly group: { readonly conversation: ConversationRow['conversation']; readonly generation: number }
  readonly copies: readonly Copy[]
}

interface Found {
  readonly row: HistoryRow
  readonly copy: Copy
  readonly epoch: number
}

async function copiesFor(desk: Desk, { conversation, messages, asker }: Ask): Promise<Copies> {
  const row = await rowOf(desk, conversation)
  const state = await look(desk).state(conversation)
  const group = { conversation, generation: row?.generation ?? 1 }
  if (row === undefined || state === undefined) return { group, copies: [] }
  const own = desk.tools.me.self.account
  const isSibling = sameBytes(asker.account, own)
  const wanted = new Set(messages.map(textOf))
  const copies: Copy[] = []
  for await (const { copy, epoch, row: item } of backwards(desk, row, searchMax)) {
    const { header } = readAuthored(copy.authored)
    if (!wanted.has(textOf(header.id))) continue
    const mayHave =
      isSibling ||
      (sameBytes(copy.account, own) && item.generation === row.generation && wereAllThere(view(state), epoch))
    if (mayHave) copies.push(copy)
    if (wanted.delete(textOf(header.id)) && wanted.size === 0) break
  }
  return { group, copies: copies.reverse() }
}

/** What goes to everybody here must have been for everybody here. */
function wereAllThere({ lists }: View, epoch: number): boolean {
  return lists.every(({ since }) => since <= epoch)
}

/** What was said, the newest first. */
async function* backwards(desk: Desk, row: ConversationRow, max: number): AsyncGenerator<Found> {
  let count = 0
  for (let end = row.newest; end > 0 && count < max; end -= page) {
    const start = Math.max(0, end - page)
    const rows = await desk.store.read('history', { after: historyKey(row, start), limit: end - start })
    const inside = rows.filter(({ key }) => typeof key === 'number' && key <= historyKey(row, end))
    for (const { value } of inside.reverse()) {
      const found = foundIn(value)
      if (found === undefined) continue
      yield found
      if (++count >= max) return
    }
  }
}

const page = 256

function foundIn(value: Uint8Array): Found | undefined {
  const row = readRow(historyRow, value)
  const { entry, sequence, at } = row
  if (entry.kind !== 'message') return undefined
  const { sender, epoch, authored } = entry.body
  return { row, epoch, copy: { sequence, at, account: sender.account, authored } }
}

function parts({ group, copies }: Copies): readonly Content[] {
  const found: Content[] = []
  let part: Copy[] = []
  let bytes = 0
  const end = (): void => {
    if (part.length > 0) found.push({ kind: 'copies', body: { group, copies: part } })
    part = []
    bytes = 0
  }
  for (const copy of copies) {
    const size = encode(Authored, copy.authored).length + 64
    if (bytes + size > limits.copiesBytesMax || part.length === perPart) end()
    if (size > limits.copiesBytesMax) continue // does not fit a message once it is inside of another one
    part.push(copy)
    bytes += size
  }
  end()
  return found
}

const perPart = 500

function textOf(id: SendId): string {
  return String.fromCharCode(...id)
}

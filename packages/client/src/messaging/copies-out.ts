import { Authored, type Content, type Copy, readAuthored, type View, view } from '@messageu/e2ee/conversation'
import { encode } from '@messageu/protocol'
import type { SendId } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { dropRow, rowsOf } from '../rows.ts'
import { backwards } from './backwards.ts'
import { countsFrom } from './counts.ts'
import { type Desk, look, rowOf, type Wait } from './desk.ts'
import { errandKey } from './errands.ts'
import { messagingLimits as limits } from './limits.ts'
import { type ConversationRow, type Errand, errandRow } from './rows.ts'
import type { Sending } from './sending.ts'
import { write } from './writing.ts'

/** How far back what others ask for is looked for. */
const searchMax = 5_000

type Ask = Extract<Errand, { kind: 'copies' }>['body']

/** Answers whoever could not open messages: siblings with all that is here, others with what this device has written. */
export async function answerAsks(desk: Desk, sending: Sending, wait: Wait): Promise<void> {
  const asks: Ask[] = []
  for await (const { row } of rowsOf(desk.store, errandRow)) if (row.kind === 'copies') asks.push(row.body)
  for (const ask of asks) {
    const contents = await copiesFor(desk, ask)
    const through = await rowOf(desk, ask.through)
    if (through?.standing.kind === 'active')
      for (const content of contents) await sending.post(ask.through, content, wait)
    await write(desk, async ({ store }) =>
      store.put(dropRow(errandRow, errandKey('copies', ask.conversation, ask.asker.account))),
    )
  }
}

/** Everything that was said in a conversation, for a new device of one's own: something also where nothing was said. */
export async function historyOf(desk: Desk, row: ConversationRow): Promise<readonly [Content, ...Content[]]> {
  const all: Found[] = []
  for await (const found of said(desk, row)) all.push(found)
  const [first, ...others] = contentsOf(row, all.reverse())
  return [first ?? copiesOf(row, { generation: row.generation, place: row.newest, copies: [] }), ...others]
}

/** A message, where it stands, and in which generation and epoch it was said. */
interface Found {
  readonly place: number
  readonly generation: number
  readonly epoch: number
  readonly copy: Copy
}

async function copiesFor(desk: Desk, { conversation, messages, asker }: Ask): Promise<readonly Content[]> {
  const row = await rowOf(desk, conversation)
  const state = await look(desk).state(conversation)
  if (row === undefined || state === undefined) return []
  const own = desk.tools.me.self.account
  const isSibling = sameBytes(asker.account, own)
  const wanted = new Set(messages.map(textOf))
  const mayHave: Found[] = []
  let looked = 0
  for await (const found of said(desk, row)) {
    if (++looked > searchMax) break
    const { header } = readAuthored(found.copy.authored)
    if (!wanted.delete(textOf(header.id))) continue
    const isFromHere = sameBytes(found.copy.account, own) && found.generation === row.generation
    if (isSibling || (isFromHere && wereAllThere(view(state), found.epoch))) mayHave.push(found)
    if (wanted.size === 0) break
  }
  return contentsOf(row, mayHave.reverse())
}

/** What goes to everybody here must have been for everybody here. */
function wereAllThere({ lists }: View, epoch: number): boolean {
  return lists.every(({ since }) => since <= epoch)
}

/** What was said, the newest first. */
async function* said(desk: Desk, row: ConversationRow): AsyncGenerator<Found> {
  for await (const { place, item } of backwards(desk.store, row)) {
    const { entry, sequence, at, generation } = item
    if (entry.kind !== 'message') continue
    const { sender, epoch, authored } = entry.body
    yield { place, generation, epoch, copy: { sequence, at, account: sender.account, authored } }
  }
}

/** In as many messages as it takes, each from one generation and one incarnation of the server. */
function contentsOf(row: ConversationRow, all: readonly Found[]): readonly Content[] {
  const contents: Content[] = []
  const groups = Map.groupBy(all, ({ place, generation }) => `${generation} ${countsFrom(row, place).length}`)
  for (const [first, ...others] of groups.values())
    if (first !== undefined)
      for (const copies of parts([first, ...others].map(({ copy }) => copy)))
        contents.push(copiesOf(row, { ...first, copies }))
  return contents
}

function copiesOf(
  row: ConversationRow,
  { generation, place, copies }: Pick<Found, 'generation' | 'place'> & { copies: readonly Copy[] },
): Content {
  const { conversation } = row
  return { kind: 'copies', body: { group: { conversation, generation }, counts: countsFrom(row, place), copies } }
}

function parts(copies: readonly Copy[]): readonly (readonly Copy[])[] {
  const found: Copy[][] = []
  let part: Copy[] = []
  let bytes = 0
  for (const copy of copies) {
    const size = encode(Authored, copy.authored).length + 64
    if (size > limits.copiesBytesMax) continue // does not fit a message once it is inside of another one
    if (part.length === 0 || bytes + size > limits.copiesBytesMax || part.length === perPart) {
      part = []
      bytes = 0
      found.push(part)
    }
    part.push(copy)
    bytes += size
  }
  return found
}

const perPart = 500

function textOf(id: SendId): string {
  return String.fromCharCode(...id)
}

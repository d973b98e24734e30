import type { Infer } from '@messageu/protocol'
import { type ConversationId, type Gap as ExplainedGap, RefusedError } from '@messageu/protocol/v3'
import { sameBytes } from '../bytes.ts'
import { rowsOf } from '../rows.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { inside, outside, without } from './gaps.ts'
import { messagingLimits as limits } from './limits.ts'
import { type ConversationRow, draftRow, historyRow, type Range } from './rows.ts'
import { historyKey, type Work } from './work.ts'
import { write } from './writing.ts'

type Explained = Infer<typeof ExplainedGap>

/**
 * Asks why places were never delivered, and shows those that this device does not have, whatever the reason: everything
 * is addressed to whoever is on the roster. Returns after how many milliseconds it is to be asked again. CONVERSATIONS C 7
 */
export async function explainGaps(
  desk: Desk,
  { conversation, gaps }: ConversationRow,
  { signal }: Wait,
): Promise<number | undefined> {
  if (gaps.length === 0) return undefined
  // one's own messages have places too, and only their answers tell which
  if (await isSending(desk, conversation)) return limits.gapMs
  const now = desk.clock.nowMs()
  for (const gap of gaps.filter(({ since }) => Math.abs(now - since) >= limits.gapMs)) {
    const explained = await explain(desk, { conversation, ...gap }, { signal })
    await write(desk, (work) => showGaps(work, conversation, explained))
  }
  const left = (await rowOf(desk, conversation))?.gaps ?? []
  return left.length > 0 ? limits.gapMs : undefined
}

export async function showGaps(
  work: Work,
  conversation: ConversationId,
  explained: readonly Explained[],
): Promise<ConversationRow | undefined> {
  let row = await work.conversation(conversation)
  for (const each of explained) {
    if (row === undefined || each.why === 'waiting') continue
    const missing = await missingIn(work, row, each)
    row = { ...row, gaps: outside(row.gaps, each) }
    work.put(row)
    for (const { from, through } of missing) {
      const body = { through, why: each.why }
      row = await work.record(row, { sequence: from, at: work.nowMs }, { kind: 'gap', body }, { isFed: true })
    }
  }
  return row
}

/** What is still missing of a range: what has its place in the history is not. */
async function missingIn({ store }: Work, row: ConversationRow, range: Range): Promise<readonly Range[]> {
  let missing = inside(row.gaps, range)
  const [from, through] = [historyKey(row, row.base + range.from), historyKey(row, row.base + range.through)]
  for await (const { key, row: item } of rowsOf(store, historyRow, { after: from - 1 })) {
    if (Number(key) > through) break
    missing = without(missing, item.sequence)
  }
  return missing
}

async function isSending({ store }: Desk, conversation: ConversationId): Promise<boolean> {
  for await (const { row } of rowsOf(store, draftRow)) if (sameBytes(row.conversation, conversation)) return true
  return false
}

/** A server that refuses to say, or says it of other places, has lost them as far as anybody here can tell. */
export async function explain(
  desk: Desk,
  { conversation, from, through }: Range & Pick<ConversationRow, 'conversation'>,
  { signal }: Wait,
): Promise<readonly Explained[]> {
  const found: Explained[] = []
  for (let next = from; next <= through && found.length < limits.gapsMax; ) {
    const page = await desk.session.request('explain', { conversation, from: next, through }, { signal }).catch(refused)
    const last = page.at(-1)
    if (last === undefined || last.through < next || page[0]?.from !== next) {
      found.push({ from: next, through, why: 'lost' })
      break
    }
    found.push(...page)
    next = last.through + 1
  }
  return found.map((each) => ({ ...each, from: Math.max(from, each.from), through: Math.min(through, each.through) }))
}

function refused(error: unknown): readonly Explained[] {
  if (error instanceof RefusedError && error.retry === 'never') return []
  throw error
}

import type { Infer } from '@messageu/protocol'
import { type Gap, RefusedError } from '@messageu/protocol/v3'
import type { Desk, Wait } from './desk.ts'
import { messagingLimits as limits } from './limits.ts'
import type { ConversationRow, Range } from './rows.ts'
import { write } from './writing.ts'

type Explained = Infer<typeof Gap>

/** Asks why places were never delivered, and shows those that are lost to this device. CONVERSATIONS C 7 */
export async function explainGaps(
  desk: Desk,
  { conversation, gaps }: ConversationRow,
  { signal }: Wait,
): Promise<void> {
  for (const gap of gaps) {
    const explained = await explain(desk, { conversation, ...gap }, { signal })
    await write(desk, async (work) => {
      const row = await work.conversation(conversation)
      if (row === undefined) return
      const rest = row.gaps.filter(({ from, through }) => from !== gap.from || through !== gap.through)
      let next: ConversationRow = { ...row, gaps: rest }
      work.put(next)
      for (const { from, through, why } of explained)
        if (why === 'lost' || why === 'expired')
          next = await work.record(
            next,
            { sequence: from, at: work.nowMs },
            { kind: 'gap', body: { through, why } },
            { isFed: true },
          )
    })
  }
}

/** A server that refuses to say, or says it of other places, has lost them as far as anybody here can tell. */
async function explain(
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

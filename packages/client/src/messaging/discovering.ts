import type { AccountRow } from '../rows.ts'
import { announce } from './announcing.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { write } from './writing.ts'

/**
 * The conversations of the account that a recovered device has no memory of: it takes its place in them, and shows who is
 * there before it writes. A device that was linked is brought in by the one that has linked it. CONVERSATIONS A 4, D 3
 */
export async function discover(desk: Desk, { origin }: AccountRow, { signal }: Wait): Promise<void> {
  if (origin !== 'recovered') return
  for await (const { conversation, kind, generation, isOnRoster } of desk.session.conversations({ signal })) {
    if (isOnRoster || (await rowOf(desk, conversation)) !== undefined) continue
    await write(desk, async (work) => {
      const row = await announce(work, conversation, { kind, generation, isInsistent: false })
      if (row === undefined) return // the next session looks for it, once others are proved
      work.put({ ...row, isUnseen: kind === 'direct' || kind === 'group' })
      work.tools.touched(conversation)
    })
  }
}

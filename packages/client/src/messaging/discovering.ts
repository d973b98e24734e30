import type { Infer } from '@messageu/protocol'
import type { ConversationEntry } from '@messageu/protocol/v3'
import type { AccountRow } from '../rows.ts'
import { announce } from './announcing.ts'
import { type Desk, rowOf, type Wait } from './desk.ts'
import { write } from './writing.ts'

/**
 * The conversations of the account that a recovered device has no memory of: it takes its place in them, and shows who is
 * there before it writes. A device that was linked is brought in by the one that has linked it. CONVERSATIONS A 4, D 3
 */
export async function discover(desk: Desk, { origin }: AccountRow, { signal }: Wait): Promise<void> {
  if (origin === 'recovered')
    await lookFor(desk, { isMeant: ({ isOnRoster }) => !isOnRoster, isUnseen: true }, { signal })
}

/** Those into which this device was brought so long ago that nothing of it waits any more. CONVERSATIONS C 10 */
export function discoverMissed(desk: Desk, wait: Wait): Promise<void> {
  return lookFor(
    desk,
    { isMeant: ({ kind, isOnRoster }) => isOnRoster && kind !== 'own-devices', isUnseen: false },
    wait,
  )
}

async function lookFor(
  desk: Desk,
  { isMeant, isUnseen }: { isMeant: (entry: Infer<typeof ConversationEntry>) => boolean; isUnseen: boolean },
  { signal }: Wait,
): Promise<void> {
  for await (const entry of desk.session.conversations({ signal })) {
    const { conversation, kind, generation } = entry
    if (!isMeant(entry) || (await rowOf(desk, conversation)) !== undefined) continue
    await write(desk, async (work) => {
      const row = await announce(work, conversation, { kind, generation, isInsistent: false })
      if (row === undefined) return // the next session looks for it, once others are proved
      work.put({ ...row, isUnseen: isUnseen && (kind === 'direct' || kind === 'group') })
      work.tools.touched(conversation)
    })
  }
}

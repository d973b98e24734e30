import type { Reader } from '@messageu/client'
import { type Output, tell } from '../output.ts'
import { eventOf } from './arrival-events.ts'
import { linesOf } from './arrival-lines.ts'
import { type Context, read } from './context.ts'
import { Labels } from './labels.ts'

/** The newest of what was said in a conversation, the oldest first. */
export async function history(context: Context, who: string, { limit }: { limit: number }): Promise<void> {
  const { output } = context
  await using opened = await read(context)
  const { reader } = opened
  await tellHistory({ output, reader, labels: new Labels(reader) }, who, { limit })
}

export async function tellHistory(
  { output, reader, labels }: { output: Output; reader: Pick<Reader, 'history'>; labels: Labels },
  who: string,
  { limit }: { limit: number },
): Promise<void> {
  for (const item of await reader.history(who, { limit })) {
    const time = `${new Date(item.at).toISOString().slice(0, 16)}Z`
    await tell(output, eventOf(item), output.json ? '' : `${time}  ${await linesOf(item, labels)}`)
  }
}

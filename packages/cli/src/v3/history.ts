import type { Client } from '@messageu/client'
import { type Output, tell } from '../output.ts'
import { eventOf } from './arrival-events.ts'
import { linesOf } from './arrival-lines.ts'
import { type Context, connect } from './context.ts'
import { Labels } from './labels.ts'

/** The newest of what was said in a conversation, the oldest first. */
export async function history(context: Context, who: string, { limit }: { limit: number }): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  await tellHistory({ output, client, labels: new Labels(client) }, who, { limit, signal })
}

export async function tellHistory(
  { output, client, labels }: { output: Output; client: Client; labels: Labels },
  who: string,
  { limit, signal }: { limit: number; signal: AbortSignal },
): Promise<void> {
  for (const item of await client.history(who, { limit, signal })) {
    const time = `${new Date(item.at).toISOString().slice(0, 16)}Z`
    await tell(output, eventOf(item), output.json ? '' : `${time}  ${await linesOf(item, labels)}`)
  }
}

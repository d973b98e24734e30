import { tell } from '../output.ts'
import { eventOf } from './arrival-events.ts'
import { linesOf } from './arrival-lines.ts'
import { type Context, connect } from './context.ts'
import { Labels } from './labels.ts'

/** The newest of what was said in a conversation, the oldest first. */
export async function history(context: Context, who: string, { limit }: { limit: number }): Promise<void> {
  const { output } = context
  await using connected = await connect(context)
  const { client, signal } = connected
  const labels = new Labels(client)
  for (const item of await client.history(who, { limit, signal })) {
    const time = `${new Date(item.at).toISOString().slice(0, 16)}Z`
    await tell(output, eventOf(item), `${time}  ${output.json ? '' : await linesOf(item, labels)}`)
  }
}

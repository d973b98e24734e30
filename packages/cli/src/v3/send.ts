import { conversationLimits } from '@messageu/e2ee/conversation'
import { toBase64url } from '@messageu/protocol/v3'
import { tell } from '../output.ts'
import { textOf } from '../text-input.ts'
import { type Context, connect, hex } from './context.ts'
import { say } from './saying.ts'

/** A text to a person or a group. Resolves when the server has made it durable. */
export async function send(context: Context, who: string, words: readonly string[]): Promise<void> {
  const { output } = context
  const text = await textOf(words, {
    bytesMax: conversationLimits.textBytesMax,
    usage: 'messageu send WHO TEXT',
    instead: 'send it in parts',
    signal: context.signal,
  })
  await using connected = await connect(context)
  const { client, signal } = connected
  const { id: bytes, conversation: place, sequence, at } = await say({ ...context, client, signal }, who, text)
  const id = hex(bytes)
  const conversation = toBase64url(place)
  await tell(output, { event: 'sent', id, conversation, sequence, at }, `sent  ${id}  (number ${sequence})`)
}

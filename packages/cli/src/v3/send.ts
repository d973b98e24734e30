import type { Posted } from '@messageu/client'
import { conversationLimits } from '@messageu/e2ee/conversation'
import { type Accepted, toBase64url } from '@messageu/protocol/v3'
import { unlessAborted } from '../interrupt.ts'
import { notice, type Output, tell } from '../output.ts'
import { textOf } from '../text-input.ts'
import { type Context, connect, hex } from './context.ts'

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
  const posted = await client.post(who, { kind: 'text', body: { text } }, { signal })
  const { sequence, at } = await accepted(output, posted, signal)
  const id = hex(posted.id)
  const conversation = toBase64url(posted.conversation)
  await tell(output, { event: 'sent', id, conversation, sequence, at }, `sent  ${id}  (number ${sequence})`)
}

/** From the moment it is stored a message will go out: whoever does not see that has to know. */
export async function accepted(output: Output, { outcome }: Posted, signal: AbortSignal): Promise<Accepted> {
  try {
    const answered = await unlessAborted(outcome, signal)
    if (answered.kind === 'accepted') return answered.accepted
    throw answered.error
  } catch (error) {
    if (signal.aborted)
      await notice(output, 'queued', 'the text is stored here and goes out by the next command: do not send it again')
    throw error
  }
}

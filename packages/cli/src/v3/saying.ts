import type { Client, Sent } from '@messageu/client'
import { Failure } from '../failure.ts'
import { unlessAborted } from '../interrupt.ts'
import { notice } from '../output.ts'
import type { Context } from './context.ts'

/** Resolves when the server has accepted it. A server that keeps the sender waiting is not waited for without end. */
export async function say(
  { client, output, signal, world }: Pick<Context, 'output' | 'signal' | 'world'> & { client: Client },
  who: string,
  text: string,
): Promise<Sent> {
  const { id, conversation, outcome } = await client.post(who, { kind: 'text', body: { text } }, { signal })
  const late = new AbortController()
  using _timer = world.clock.after(acceptedMs, () => late.abort(notAccepted()))
  const either = AbortSignal.any([signal, late.signal])
  try {
    const answered = await unlessAborted(outcome, either)
    if (answered.kind === 'accepted') return { id, conversation, ...answered.accepted }
    throw answered.error
  } catch (error) {
    // from the moment it is stored a message will go out: whoever does not see that has to know
    if (either.aborted)
      await notice(output, 'queued', 'the text is stored here and goes out by the next command: do not send it again')
    throw error
  }
}

/** As long as any change of a conversation may take. */
const acceptedMs = 60_000

function notAccepted(): Failure {
  return new Failure('timeout', {
    what: `the server has not taken the text within ${acceptedMs / 1000} s`,
    why: 'it is busy, or it does not show this device what has changed in the conversation',
    advice: 'messageu listen --once; if it stays like this, ask the others what they see',
  })
}

import type { Arrival } from '@messageu/client'
import { unlessAborted } from '../interrupt.ts'
import { type Output, write } from '../output.ts'
import { jsonLine } from '../terminal.ts'
import { eventOf } from './arrival-events.ts'
import { linesOf } from './arrival-lines.ts'
import { type Context, connect } from './context.ts'
import { Labels } from './labels.ts'

/** What comes in, as it comes. `once`: all that waits, then the end. */
export async function listen(context: Context, { once }: { once: boolean }): Promise<void> {
  const { output } = context
  await using connected = await connect(context, { tends: true, isPatient: !once })
  const { client, signal } = connected
  const labels = new Labels(client)
  const showAll = async (): Promise<void> => {
    for await (const batch of client.arrivals({ signal, untilCaughtUp: once })) await show(output, batch, labels)
  }
  await showAll()
  await unlessAborted(client.idle(), signal)
  await showAll() // what was done for others meanwhile may have brought more
}

/** Prints a batch whole: with the next one asked for it counts as shown. */
export async function show(output: Output, batch: readonly Arrival[], labels: Labels): Promise<void> {
  const printed: string[] = []
  for (const arrival of batch)
    printed.push(output.json ? jsonLine(eventOf(arrival)) : `${await linesOf(arrival, labels)}\n`)
  if (printed.length > 0) await write(output.out, printed.join(''))
}

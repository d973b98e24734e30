import { createInterface } from 'node:readline/promises'
import { type AccountRow, beginLinking, finishLinking, type Progress } from '@messageu/client'
import { openProfile } from '@messageu/client/node'
import { Failure } from '../failure.ts'
import { unlessAborted } from '../interrupt.ts'
import { notice, tell, write } from '../output.ts'
import { qrCode } from '../qr-code.ts'
import { printable } from '../terminal.ts'
import { type Context, connect, hex } from './context.ts'

/** A code of a device is some 400 characters. */
const codeCharactersMax = 4096

/**
 * Lets another device in. Shows the code that it wants, takes the code that it shows, and brings it into everything. Where
 * nobody can type, the end of the input is the end: the other code comes with `code` later.
 */
export async function offerLink(
  context: Context,
  { code, isManager }: { code: string | undefined; isManager: boolean },
): Promise<void> {
  const { output } = context
  await using connected = await connect(context, { tends: true })
  const { client, signal } = connected
  if (code === undefined) {
    const offer = await client.offer()
    await tell(
      output,
      { event: 'offer', code: offer },
      `On the new device, with a profile of its own:\n\n  messageu device link ${offer}\n${qrCode(output, offer)}`,
    )
  }
  const answer = code ?? (await readCode(context))
  if (answer === undefined) return
  const told: Promise<void>[] = []
  const tellProgress = (progress: Progress): void => {
    told.push(tell(output, { event: 'progress', ...progress }, progressWords(progress)))
  }
  const device = await client.admit(answer, { isManager, tell: tellProgress, signal })
  await Promise.all(told)
  await unlessAborted(client.idle(), signal)
  await tell(output, { event: 'linked', device: hex(device) }, `The device ${hex(device)} is in.`)
}

/** Makes this profile a device of the account that the offer is of. Ends once it has been brought in. */
export async function joinAccount(context: Context, offer: string): Promise<void> {
  const { output } = context
  const { name, device } = await becomeDevice(context, offer)
  await notice(output, 'listed', `this is a device of ${name} now; the other one brings it in`)
  await using connected = await connect(context, { tends: true })
  const { client, signal } = connected
  await unlessAborted(client.idle(), signal)
  await client.broughtIn({ signal })
  await tell(
    output,
    { event: 'linked', device: hex(device), name },
    `You are ${printable(name)} here too. What was said before is in messageu history WHO once it has come.`,
  )
}

async function becomeDevice(
  { output, folder, signal, world }: Context,
  offer: string,
): Promise<AccountRow['identity']> {
  await using profile = await openProfile(folder)
  const { store } = profile
  const code = await beginLinking({ store, world }, offer)
  await tell(
    output,
    { event: 'code', code },
    `On the other device, where it waits for it (or: messageu device link --code CODE):\n\n  ${code}\n${qrCode(output, code)}`,
  )
  return (await finishLinking({ store, world, signal })).identity
}

/** The code of the other device, from whoever types or from a pipe. */
async function readCode({ output, signal }: Context): Promise<string | undefined> {
  const isAsked = process.stdin.isTTY && !output.json
  if (isAsked) await write(output.err, 'The code that the new device shows: ')
  using lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY, signal })
  for await (const line of lines) {
    if (line.length > codeCharactersMax)
      throw new Failure('bad-code', { what: 'this is not a code: it is too long', advice: 'copy the whole code again' })
    if (line.trim() !== '') return line.trim()
  }
  signal.throwIfAborted()
  return undefined
}

function progressWords(progress: Progress): string {
  switch (progress.kind) {
    case 'listed':
      return 'It is on the list of your devices; waiting until it connects …'
    case 'brought-in':
      return `It is in ${progress.conversations} of your conversations.`
    case 'history':
      return 'It has been sent what was said.'
  }
}

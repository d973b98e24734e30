import { createInterface } from 'node:readline/promises'
import { type AccountRow, beginLinking, ClientError, finishLinking, type Progress } from '@messageu/client'
import { openProfile } from '@messageu/client/node'
import type { DeviceId } from '@messageu/protocol/v3'
import { unlessAborted } from '../interrupt.ts'
import { notice, tell, write } from '../output.ts'
import { qrCode } from '../qr-code.ts'
import { printable } from '../terminal.ts'
import { type Context, connect, hex } from './context.ts'

/** A code of a device is some 400 characters. */
const codeCharactersMax = 4096
/** How often somebody may mistype it. */
const codeAttempts = 5

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
  const told: Promise<void>[] = []
  const tellProgress = (progress: Progress): void => {
    told.push(tell(output, { event: 'progress', ...progress }, progressWords(progress)))
  }
  const admit = (answer: string): Promise<DeviceId> => client.admit(answer, { isManager, tell: tellProgress, signal })
  const device = await (code === undefined ? admitTyped(context, admit) : admit(code))
  if (device === undefined) return
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

/**
 * Lets the device in whose code comes, from whoever types or from a pipe; nothing where the input ends before. Who types may
 * mistype, and the new device waits meanwhile: asked again.
 */
async function admitTyped(
  { output, signal }: Context,
  admit: (code: string) => Promise<DeviceId>,
): Promise<DeviceId | undefined> {
  const isAsked = process.stdin.isTTY && !output.json
  if (isAsked) await write(output.err, 'The code that the new device shows: ')
  using lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY, signal })
  let wrong = 0
  for await (const line of lines) {
    if (line.trim() === '') continue
    try {
      mustBeShort(line)
      return await admit(line.trim())
    } catch (error) {
      wrong += 1
      if (!isAsked || !isBadCode(error) || wrong === codeAttempts) throw error
      await write(output.err, `${sentence(error.message)} The whole one that the new device shows, once more: `)
    }
  }
  signal.throwIfAborted()
  return undefined
}

function mustBeShort(line: string): void {
  if (line.length > codeCharactersMax) throw new ClientError('bad-code', 'this is not a code: it is too long')
}

function isBadCode(error: unknown): error is ClientError {
  return error instanceof ClientError && error.reason === 'bad-code'
}

function sentence(words: string): string {
  return `${words.slice(0, 1).toUpperCase()}${words.slice(1)}.`
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

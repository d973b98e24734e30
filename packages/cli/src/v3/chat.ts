import { createInterface, type Interface } from 'node:readline'
import { Writable } from 'node:stream'
import type { Client } from '@messageu/client'
import { conversationLimits } from '@messageu/e2ee/conversation'
import { asFailure, Failure, interrupted } from '../failure.ts'
import { complain, notice, type Output, tell, write } from '../output.ts'
import { printable } from '../terminal.ts'
import { type Context, connect, hex } from './context.ts'
import { asClientFailure } from './failing.ts'
import { tellHistory } from './history.ts'
import { Labels } from './labels.ts'
import { show } from './listen.ts'
import { say } from './saying.ts'

const help = `A line is sent to whoever the prompt names. Lines that begin with a slash are for this program:
  /to WHO        from now on lines go there (a name, me, #TITLE or #ID)
  /history [N]   what was said there
  /help          this
  /quit          the end (so are Ctrl-D and Ctrl-C)
A line that is to begin with a slash is written with two.`

const historyShown = 20

/** Lines go out, and what comes in is shown above the line that is being written, until the input ends. */
export async function chat(context: Context, who: string | undefined): Promise<void> {
  const isAtTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true && !context.output.json
  let prompt: Interface | undefined
  const output = isAtTerminal ? abovePrompt(context.output, () => prompt) : context.output
  await using connected = await connect({ ...context, output }, { tends: true, isPatient: true })
  const { client, signal } = connected
  const ending = new AbortController()
  const either = AbortSignal.any([signal, ending.signal])
  const lines = createInterface({
    input: process.stdin,
    terminal: isAtTerminal,
    ...(isAtTerminal && { output: process.stdout }),
  })
  if (isAtTerminal) prompt = lines
  lines.once('close', () => {
    prompt = undefined // a line may still be on its way
  })
  const room = new Room({ ...context, output, signal: either }, client, () => prompt)
  lines.on('SIGINT', () => {
    process.stdout.write('\n') // what comes now is not the line that was being written
    ending.abort(interrupted())
  })
  const listening = room.listen().catch((error: unknown) => ending.abort(error))
  try {
    await room.enter(who)
    for await (const line of untilAborted(lines, either)) if ((await room.take(line)) === 'quit') return
    either.throwIfAborted()
  } finally {
    lines.close()
    ending.abort(interrupted())
    await listening
  }
}

class Room {
  readonly #context: Context
  readonly #output: Output
  readonly #client: Client
  readonly #promptNow: () => Interface | undefined
  readonly #labels: Labels
  #who: string | undefined

  constructor(context: Context, client: Client, promptNow: () => Interface | undefined) {
    this.#context = context
    this.#output = context.output
    this.#client = client
    this.#promptNow = promptNow
    this.#labels = new Labels(client)
  }

  get #prompt(): Interface | undefined {
    return this.#promptNow()
  }

  async enter(who: string | undefined): Promise<void> {
    this.#who = who
    this.#prompt?.setPrompt(`${who === undefined ? '' : printable(who)}> `)
    if (who === undefined) await notice(this.#output, 'nobody', 'nobody is chosen yet: /to WHO, or /help')
    this.#prompt?.prompt(true)
  }

  async listen(): Promise<void> {
    const { signal } = this.#context
    for await (const batch of this.#client.arrivals({ signal })) await show(this.#output, batch, this.#labels)
  }

  /** What fails is told, and the chat goes on. */
  async take(line: string): Promise<'quit' | undefined> {
    try {
      if (line.startsWith('/') && !line.startsWith('//')) return await this.#obey(line)
      if (line.trim() !== '') await this.#say(line.startsWith('//') ? line.slice(1) : line)
    } catch (error) {
      if (this.#context.signal.aborted) throw error
      await complain(this.#output, asFailure(asClientFailure(error)))
    }
    this.#prompt?.prompt(true)
    return undefined
  }

  async #obey(line: string): Promise<'quit' | undefined> {
    const [word = '', ...rest] = line.trim().split(/\s+/)
    const argument = rest.join(' ')
    switch (word) {
      case '/quit':
        return 'quit'
      case '/help':
        await tell(this.#output, { event: 'help', text: help }, help)
        return undefined
      case '/to':
        if (argument === '') throw new Failure('usage', { what: 'to whom is not said', advice: '/to WHO' })
        await this.enter(argument)
        return undefined
      case '/history':
        await tellHistory({ output: this.#output, reader: this.#client, labels: this.#labels }, this.#chosen, {
          limit: Math.min(Number(argument) || historyShown, 1000),
        })
        return undefined
      default:
        throw new Failure('usage', { what: `there is no ${word}`, advice: '/help' })
    }
  }

  async #say(text: string): Promise<void> {
    const { textBytesMax } = conversationLimits
    if (Buffer.byteLength(text) > textBytesMax)
      throw new Failure('too-large', {
        what: `the line has more than ${textBytesMax} bytes`,
        advice: 'send it in parts',
      })
    const { signal, world } = this.#context
    const [client, output] = [this.#client, this.#output]
    const { id, sequence } = await say({ client, output, signal, world }, this.#chosen, text)
    if (this.#output.json) await tell(this.#output, { event: 'sent', id: hex(id), sequence }, '')
  }

  get #chosen(): string {
    if (this.#who !== undefined) return this.#who
    throw new Failure('usage', { what: 'nobody is chosen yet', advice: '/to WHO' })
  }
}

/** Wipes the line that is being written, prints, and shows that line again below; where there is no prompt, just prints. */
function abovePrompt({ json, out, err }: Output, promptNow: () => Interface | undefined): Output {
  const above = (otherwise: Output['out']): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        const isWiped = promptNow() !== undefined
        write(isWiped ? out : otherwise, `${isWiped ? '\r\u001b[J' : ''}${chunk.toString()}`).then(() => {
          promptNow()?.prompt(true)
          done()
        }, done)
      },
    })
  return { json, out: above(out), err: above(err) }
}

async function* untilAborted(lines: Interface, signal: AbortSignal): AsyncGenerator<string> {
  const close = (): void => lines.close()
  signal.addEventListener('abort', close, { once: true })
  try {
    yield* lines
  } finally {
    signal.removeEventListener('abort', close)
  }
}

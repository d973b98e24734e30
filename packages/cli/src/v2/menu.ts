import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { asFailure } from '../failure.ts'
import { onInterrupt } from '../interrupt.ts'
import { complain, type Output, write } from '../output.ts'
import * as actions from './actions.ts'
import type { Client } from './client.ts'

type Ask = (question: string) => Promise<string>

interface Choice {
  readonly label: string
  /** Gathers what it needs, then acts. */
  readonly act: (session: actions.Session, ask: Ask) => Promise<unknown>
}

/** The original's numbers. */
const choices = new Map<string, Choice>([
  ['1', { label: 'register here', act: async (s, ask) => actions.register(s, await ask('name: ')) }],
  ['2', { label: 'who is there', act: (s) => actions.people(s) }],
  ['3', { label: "somebody's public key", act: async (s, ask) => actions.key(s, await ask('whose: ')) }],
  ['4', { label: 'read what waits', act: (s) => actions.read(s) }],
  ['5', { label: 'send a text', act: async (s, ask) => actions.send(s, await ask('to: '), await ask('text: ')) }],
  ['50', { label: 'send a file', act: async (s, ask) => actions.file(s, await ask('to: '), await ask('path: ')) }],
  ['51', { label: 'ask for a key', act: async (s, ask) => actions.ask(s, await ask('whom: ')) }],
  ['52', { label: 'give a key', act: async (s, ask) => actions.give(s, await ask('whom: ')) }],
])

const page = `
MessageU, version 2. Nothing in it proves who wrote a message.
${[...choices].map(([number, { label }]) => `${number.padStart(3)}  ${label}`).join('\n')}
  0  leave
`

class EndOfInput extends Error {}

/** Shows the menu until somebody leaves or the input ends. A failure is shown, and the menu comes again. */
export async function menu(client: Client, { input, output }: { input: Readable; output: Output }): Promise<void> {
  using terminal = openTerminal(input, output)
  const { ask } = terminal
  try {
    for (;;) {
      await write(output.out, page)
      const number = (await ask('your choice: ')).trim()
      if (number === '0') return
      const choice = choices.get(number)
      if (choice === undefined) await write(output.out, 'that is none of the numbers\n')
      else await attempt(choice, client, { output, ask })
    }
  } catch (error) {
    if (!(error instanceof EndOfInput)) throw error
    await write(output.out, '\n')
  }
}

/** Ctrl-C cancels what is going on, not the menu. */
async function attempt(choice: Choice, client: Client, { output, ask }: { output: Output; ask: Ask }): Promise<void> {
  using interruption = onInterrupt()
  try {
    await choice.act({ client: { ...client, signal: interruption.signal }, output }, ask)
  } catch (error) {
    if (error instanceof EndOfInput) throw error
    await complain(output, asFailure(error))
  }
}

function openTerminal(input: Readable & { isTTY?: boolean }, { out }: Output): { ask: Ask } & Disposable {
  const lines = createInterface({ input, output: out, terminal: input.isTTY ?? false })
  let closed = false
  lines.on('close', () => {
    closed = true
  })
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'))
  const iterator = lines[Symbol.asyncIterator]()
  return {
    async ask(question) {
      // a pipe ends long before its last line is asked for; then there is no prompt any more
      if (closed) await write(out, question)
      else {
        lines.setPrompt(question)
        lines.prompt()
      }
      const { value, done } = await iterator.next()
      if (done) throw new EndOfInput()
      return value
    },
    [Symbol.dispose]: () => lines.close(),
  }
}

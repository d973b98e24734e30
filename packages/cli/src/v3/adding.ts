import { type Command, InvalidArgumentError, Option } from 'commander'
import { onInterrupt } from '../interrupt.ts'
import type { Context } from './context.ts'

export interface Options {
  readonly server?: string
  readonly wordsFile?: string
  readonly profile?: string
  readonly dataDir?: string
  readonly json?: boolean
  readonly once?: boolean
  readonly limit?: number
  readonly confirm?: boolean
  readonly code?: string
  readonly manager?: boolean
}

/** What adds the commands that begin with a word, by that word. */
export type Families = Readonly<Record<string, (program: Command) => void>>

/** What a command does with what stands on the line. */
export type Run = (context: Context, given: { args: string[]; options: Options }) => Promise<void>

/** A command of whoever has an account, with what all of them understand. */
export function add(parent: Command, usage: string, description: string, run: Run): Command {
  return parent
    .command(usage)
    .description(description)
    .addOption(new Option('--profile <name>', 'which of your profiles (default: default)'))
    .addOption(new Option('--data-dir <folder>', 'where profiles are kept'))
    .addOption(new Option('--json', 'one JSON object a line, for programs'))
    .action(async (...given: unknown[]) => {
      const command = given.at(-1) as Command // commander passes it last
      await act(run, command.args, command.optsWithGlobals<Options>())
    })
}

/** A whole number from 1 on, as an option. */
export function wholeNumber(text: string): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(number) && number > 0) return number
  throw new InvalidArgumentError('It is no whole number from 1 on.')
}

async function act(run: Run, args: string[], options: Options): Promise<void> {
  const { machine, profileFolder } = await import('./context.ts')
  using interruption = onInterrupt()
  const output = { json: options.json ?? false, out: process.stdout, err: process.stderr }
  const { signal } = interruption
  try {
    await run({ output, folder: profileFolder(options), signal, world: machine }, { args, options })
  } catch (error) {
    if (signal.aborted) throw signal.reason
    const { asClientFailure } = await import('./failing.ts')
    throw asClientFailure(error)
  }
}

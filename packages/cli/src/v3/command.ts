import { type Command, Option } from 'commander'
import { Failure } from '../failure.ts'
import { onInterrupt } from '../interrupt.ts'
import type { Context } from './context.ts'

interface Options {
  readonly server?: string
  readonly wordsFile?: string
  readonly profile?: string
  readonly dataDir?: string
  readonly json?: boolean
}

/** What a command does with what stands on the line. */
type Run = (context: Context, given: { args: string[]; options: Options }) => Promise<void>

/** The commands of whoever has an account. Their modules are loaded when one of them runs. */
export function addV3(program: Command): void {
  const server = (): Option =>
    new Option('--server <link>', 'the link to the server, as messageu serve prints it (default: MESSAGEU_SERVER)')
  const words = (what: string): Option => new Option('--words-file <file>', what)

  add(
    program,
    'register <name>',
    'a new account, with this as its first device',
    async (context, { args: [name = ''], options }) => {
      const { register } = await import('./account.ts')
      await register(context, { name, server: serverIn(options), wordsFile: options.wordsFile })
    },
  )
    .addOption(server())
    .addOption(words('where the 24 words are, or go to (without a terminal: recovery-words.txt in the profile)'))
  add(
    program,
    'recover',
    'the account that 24 words belong to, with this as its only device',
    async (context, { options }) => {
      const { recover } = await import('./account.ts')
      await recover(context, { server: serverIn(options), wordsFile: options.wordsFile })
    },
  )
    .addOption(server())
    .addOption(words('where the 24 words are (without one: typed, or through a pipe)'))
  add(program, 'whoami', 'who this profile is', async (context) => {
    const { whoami } = await import('./account.ts')
    await whoami(context)
  })
  add(program, 'people [name]', 'who there is; or whoever has exactly this name', async (context, { args: [name] }) => {
    const { people, person } = await import('./people.ts')
    await (name === undefined ? people(context) : person(context, name))
  })
  add(program, 'requests', 'who waits to be accepted', async (context) => {
    const { requests } = await import('./people.ts')
    await requests(context)
  })
  const device = program.command('device').description('the devices of this account')
  add(device, 'list', 'which devices there are', async (context) => {
    const { devices } = await import('./devices.ts')
    await devices(context)
  })
}

function add(parent: Command, usage: string, description: string, run: Run): Command {
  return parent
    .command(usage)
    .description(description)
    .addOption(new Option('--profile <name>', 'which of your profiles (default: default)'))
    .addOption(new Option('--data-dir <folder>', 'where profiles are kept'))
    .addOption(new Option('--json', 'one JSON object a line, for programs'))
    .action(async (...given: unknown[]) => {
      const command = given.at(-1) as Command // commander passes it last
      await act(run, command.args, command.opts<Options>())
    })
}

async function act(run: Run, args: string[], options: Options): Promise<void> {
  const [{ profileFolder }, { machine }] = await Promise.all([import('./home.ts'), import('./context.ts')])
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

function serverIn({ server = process.env.MESSAGEU_SERVER }: Options): string {
  if (server !== undefined) return server
  throw new Failure('no-server', {
    what: 'which server is not said',
    advice: "--server 'messageu://…', the link that the operator gave you; or the same in MESSAGEU_SERVER",
  })
}

import { type Command, Option } from 'commander'
import { Failure } from '../failure.ts'
import { add, type Options } from './adding.ts'
import { addConversations } from './conversation-commands.ts'

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
  addConversations(program)
}

function serverIn({ server = process.env.MESSAGEU_SERVER }: Options): string {
  if (server !== undefined) return server
  throw new Failure('no-server', {
    what: 'which server is not said',
    advice: "--server 'messageu://…', the link that the operator gave you; or the same in MESSAGEU_SERVER",
  })
}

import { type Command, Option } from 'commander'
import { exits, Failure } from '../failure.ts'
import { onInterrupt } from '../interrupt.ts'
import type { Session } from './actions.ts'

interface Options {
  readonly server?: string
  readonly dir?: string
  readonly json?: boolean
  readonly save?: string
}

type Actions = typeof import('./actions.ts')

/** What a command does with what stands on the line. */
type Run = (session: Session, actions: Actions, given: { args: string[]; options: Options }) => Promise<void>

/** `messageu v2`: the version 2 client. Its modules are loaded when one of its commands runs. */
export function addV2(program: Command): void {
  const v2 = common(program.command('v2'))
    .description('the client of protocol version 2, as the original: a menu without arguments, or one action')
    .addHelpText('after', `\n${warning}`)
    .action(async (...given: unknown[]) => {
      const { client, output } = await sessionOf(commandIn(given))
      if (output.json) throw new Failure('usage', { what: 'the menu has no --json', advice: 'messageu v2 --help' })
      const { menu } = await import('./menu.ts')
      await menu(client, { input: process.stdin, output })
    })
  const add = (usage: string, description: string, run: Run): Command =>
    common(v2.command(usage)).description(description).action(acting(run))

  add(
    'register <name>',
    'make a key pair and register it under a name',
    (session, { register }, { args: [name = ''] }) => register(session, name),
  )
  add('people', 'list everybody else on the server', (session, { people }) => people(session))
  add('key <who>', "show somebody's public key", (session, { key }, { args: [who = ''] }) => key(session, who))
  add('ask <who>', 'ask somebody for an AES key', (session, { ask }, { args: [who = ''] }) => ask(session, who))
  add(
    'give <who>',
    'give somebody an AES key: a new one, or the same one again',
    (session, { give }, { args: [who = ''] }) => give(session, who),
  )
  add(
    'send <who> [text...]',
    'send a text: from the arguments, or through a pipe',
    async (session, { send }, { args }) => {
      const [who = '', ...words] = args
      await send(session, who, await textOf(words, session.client.signal))
    },
  )
  add('file <who> <path>', 'send a file', (session, { file }, { args: [who = '', path = ''] }) =>
    file(session, who, path),
  )
  add('read', 'show what waits, and save the files that came', async (session, { read }, { options }) => {
    if ((await read(session, options.save)) > 0) process.exitCode = exits.partly
  }).option('--save <folder>', 'where received files go (default: the folder "received" in --dir)')
  add('test', "run the sixteen steps of the original's test against a server", async ({ client, output }) => {
    const { testServer } = await import('./suite.ts')
    await testServer(client, output)
  })
}

const warning = `WHO is a name or an id of 32 hex digits.
Version 2 does not prove who wrote a message, and whoever knows your id can fetch your mail.`

/** Each command understands them, wherever they stand. */
function common(command: Command): Command {
  return command
    .addOption(new Option('--server <host:port>', 'the server (default: the line in server.info)'))
    .addOption(new Option('--dir <folder>', 'where me.info, server.info and me.state are (default: this folder)'))
    .addOption(new Option('--json', 'one JSON object a line, for programs'))
}

function acting(run: Run): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = commandIn(given)
    using interruption = onInterrupt()
    const session = await sessionOf(command, interruption.signal)
    await run(session, await import('./actions.ts'), { args: command.args, options: command.optsWithGlobals() })
  }
}

function commandIn(given: unknown[]): Command {
  return given.at(-1) as Command // commander passes it last
}

async function sessionOf(command: Command, signal?: AbortSignal): Promise<Session> {
  const { server: address, dir = '.', json = false } = command.optsWithGlobals<Options>()
  const [{ warnIfExposed }, { openClient, parseAddress }] = await Promise.all([
    import('./actions.ts'),
    import('./client.ts'),
  ])
  const server = address === undefined ? undefined : parseAddress(address)
  const session = {
    client: openClient({ dir, server, signal }),
    output: { json, out: process.stdout, err: process.stderr },
  }
  await warnIfExposed(session)
  return session
}

async function textOf(words: string[], signal: AbortSignal | undefined): Promise<string> {
  const [{ limits }, text] = await Promise.all([import('./limits.ts'), import('../text-input.ts')])
  return text.textOf(words, {
    bytesMax: limits.textSentBytesMax,
    usage: 'messageu v2 send WHO TEXT',
    instead: 'send it as a file: messageu v2 file WHO PATH',
    signal,
  })
}

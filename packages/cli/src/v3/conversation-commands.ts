import { type Command, Option } from 'commander'
import { exits } from '../failure.ts'
import { add, type Families, wholeNumber } from './adding.ts'
import type { Context } from './context.ts'

const historyDefault = 50
const historyMax = 100_000

/** The commands that conversations are led with. */
export const conversationFamilies: Families = {
  send: (program) =>
    add(
      program,
      'send <who> [text...]',
      'send a text: from the arguments, or through a pipe',
      async (context, { args: [who = '', ...words] }) => {
        const { send } = await import('./send.ts')
        await send(context, who, words)
      },
    ).addHelpText('after', whoHelp),
  listen: (program) =>
    add(program, 'listen', 'what comes in, as it comes', async (context, { options }) => {
      const { listen } = await import('./listen.ts')
      await listen(context, { once: options.once ?? false })
    }).addOption(new Option('--once', 'all that waits, then end')),
  history: (program) =>
    add(program, 'history <who>', 'what was said', async (context, { args: [who = ''], options }) => {
      const { history } = await import('./history.ts')
      await history(context, who, { limit: Math.min(options.limit ?? historyDefault, historyMax) })
    })
      .addOption(
        new Option('--limit <n>', `how much of it (default: the newest ${historyDefault})`).argParser(wholeNumber),
      )
      .addHelpText('after', whoHelp),
  conversations: (program) =>
    add(program, 'conversations', 'the people and groups that you write with', async (context) => {
      const { conversations } = await import('./conversations.ts')
      await conversations(context)
    }),
  chat: (program) =>
    add(program, 'chat [who]', 'write and read, line by line', async (context, { args: [who] }) => {
      const { chat } = await import('./chat.ts')
      await chat(context, who)
    }).addHelpText('after', whoHelp),
  group: (program) =>
    addGroups(program.command('group').description('groups: who is in them, and what they are called')),
  proof: addProofs,
}

type Groups = typeof import('./groups.ts')

function addGroups(group: Command): void {
  const addGroup = (
    usage: string,
    description: string,
    run: (groups: Groups, context: Context, args: string[]) => Promise<void>,
  ): void => {
    add(group, usage, description, async (context, { args }) => run(await import('./groups.ts'), context, args))
  }
  addGroup(
    'create <title> <name...>',
    'a group of these people and you, its owner',
    async ({ create }, context, [title = '', ...names]) => partly(await create(context, title, names)),
  )
  addGroup('add <group> <name...>', 'bring people in', async ({ addTo }, context, [title = '', ...names]) =>
    partly(await addTo(context, title, names)),
  )
  addGroup('remove <group> <name...>', 'take people out', ({ removeFrom }, context, [title = '', ...names]) =>
    removeFrom(context, title, names),
  )
  addGroup('leave <group>', 'leave it', ({ leave }, context, [title = '']) => leave(context, title))
  addGroup('rename <group> <title>', 'call it something else', ({ rename }, context, [title = '', next = '']) =>
    rename(context, title, next),
  )
  addGroup('owners <group> <name...>', 'from now on these own it, and nobody else', ({ owners }, context, args) =>
    owners(context, args[0] ?? '', args.slice(1)),
  )
  addGroup('members <group>', 'who is in it', ({ members }, context, [title = '']) => members(context, title))
  add(group, 'list', 'your groups', async (context) => {
    const { conversations } = await import('./conversations.ts')
    await conversations(context, { kind: 'group' })
  })
}

/** Somebody could not be brought in yet. */
function partly(absent: number): void {
  if (absent > 0) process.exitCode = exits.partly
}

function addProofs(program: Command): void {
  const proof = add(
    program,
    'proof <who> <message>',
    'bytes that show a third party who wrote a message, and what: messageu proof WHO MESSAGE-ID > FILE',
    async (context, { args: [who = '', message = ''] }) => {
      const { prove } = await import('./proof.ts')
      await prove(context, who, message)
    },
  )
  proof
    .command('check <file>')
    .description('what such a file proves')
    .addOption(new Option('--json', 'one JSON object a line, for programs'))
    .action(async (file: string, _: unknown, command: Command) => {
      const { checkProof } = await import('./proof.ts')
      const { json = false } = command.optsWithGlobals<{ json?: boolean }>()
      await checkProof({ json, out: process.stdout, err: process.stderr }, file)
    })
}

const whoHelp = `
WHO is a person's exact name, me for notes to yourself, #TITLE or #ID for a group (between quotes: '#family').`

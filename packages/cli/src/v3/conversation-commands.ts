import { type Command, Option } from 'commander'
import { add, wholeNumber } from './adding.ts'

const historyDefault = 50
const historyMax = 100_000

/** The commands that conversations are led with. */
export function addConversations(program: Command): void {
  add(
    program,
    'send <who> [text...]',
    'send a text: from the arguments, or through a pipe',
    async (context, { args: [who = '', ...words] }) => {
      const { send } = await import('./send.ts')
      await send(context, who, words)
    },
  ).addHelpText('after', whoHelp)
  add(program, 'listen', 'what comes in, as it comes', async (context, { options }) => {
    const { listen } = await import('./listen.ts')
    await listen(context, { once: options.once ?? false })
  }).addOption(new Option('--once', 'all that waits, then end'))
  add(program, 'history <who>', 'what was said', async (context, { args: [who = ''], options }) => {
    const { history } = await import('./history.ts')
    await history(context, who, { limit: Math.min(options.limit ?? historyDefault, historyMax) })
  })
    .addOption(
      new Option('--limit <n>', `how much of it (default: the newest ${historyDefault})`).argParser(wholeNumber),
    )
    .addHelpText('after', whoHelp)
  add(program, 'conversations', 'the people and groups that you write with', async (context) => {
    const { conversations } = await import('./conversations.ts')
    await conversations(context)
  })
}

const whoHelp = `
WHO is a person's exact name, me for notes to yourself, #TITLE or #ID for a group (between quotes: '#family').`

import { type Command, Option } from 'commander'
import { Failure } from '../failure.ts'
import { add, type Families, type Options } from './adding.ts'
import { conversationFamilies } from './conversation-commands.ts'

const server = (): Option =>
  new Option('--server <link>', 'the link to the server, as messageu serve prints it (default: MESSAGEU_SERVER)')
const words = (what: string): Option => new Option('--words-file <file>', what)

/** The commands of whoever has an account. Their modules are loaded when one of them runs. */
export const v3Families: Families = {
  register: (program) =>
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
      .addOption(words('where the 24 words are, or go to (without a terminal: recovery-words.txt in the profile)')),
  recover: (program) =>
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
      .addOption(words('where the 24 words are (without one: typed, or through a pipe)')),
  whoami: (program) =>
    add(program, 'whoami', 'who this profile is', async (context) => {
      const { whoami } = await import('./account.ts')
      await whoami(context)
    }),
  people: (program) =>
    add(
      program,
      'people [name]',
      'who there is; or whoever has exactly this name',
      async (context, { args: [name] }) => {
        const { people, person } = await import('./people.ts')
        await (name === undefined ? people(context) : person(context, name))
      },
    ),
  requests: addRequests,
  device: (program) => addDevices(program.command('device').description('the devices of this account')),
  verify: addVerify,
  alarms: addAlarms,
  ...conversationFamilies,
}

function addRequests(program: Command): void {
  const requests = add(program, 'requests', 'who waits to be accepted', async (context) => {
    const people = await import('./people.ts')
    await people.requests(context)
  })
  for (const [verdict, description] of [
    ['accept', 'let somebody write to you, and see what was written so far'],
    ['refuse', 'do not; they are not told'],
    ['block', 'nothing more from somebody'],
    ['unblock', 'they may ask again'],
  ] as const)
    add(requests, `${verdict} <name>`, description, async (context, { args: [name = ''] }) => {
      const { judge } = await import('./people.ts')
      await judge(context, verdict, name)
    })
}

function addDevices(device: Command): void {
  add(device, 'list', 'which devices there are', async (context) => {
    const { devices } = await import('./devices.ts')
    await devices(context)
  })
  add(
    device,
    'link [offer]',
    'let another device in; on the new one: become a device of the account whose code this is',
    async (context, { args: [offer], options }) => {
      const { joinAccount, offerLink } = await import('./linking.ts')
      if (offer === undefined) await offerLink(context, { code: options.code, isManager: options.manager ?? false })
      else await joinAccount(context, offer)
    },
  )
    .addOption(new Option('--code <code>', 'the code that the new device shows (without it: typed, or through a pipe)'))
    .addOption(new Option('--manager', 'the new device may let others in, and take them off'))
  add(device, 'remove <id>', 'take a device off the account: by the beginning of its id', async (context, { args }) => {
    const { removeDevice } = await import('./devices.ts')
    await removeDevice(context, args[0] ?? '')
  })
}

function addVerify(program: Command): void {
  add(
    program,
    'verify <who>',
    'the safety number with somebody: the same on both sides, or somebody stands between',
    async (context, { args: [who = ''], options }) => {
      const { verify } = await import('./safety.ts')
      await verify(context, who, { confirm: options.confirm ?? false })
    },
  ).addOption(new Option('--confirm', 'you have compared it, and it is the same'))
}

function addAlarms(program: Command): void {
  const alarms = add(program, 'alarms', 'what you were warned of', async (context) => {
    const safety = await import('./safety.ts')
    await safety.alarms(context)
  })
  add(
    alarms,
    'accept <name>',
    'from now on the name stands for the account that the alarm told of',
    async (context, { args: [name = ''] }) => {
      const { acceptAlarm } = await import('./safety.ts')
      await acceptAlarm(context, name)
    },
  )
  add(
    alarms,
    'keep <name>',
    'the name goes on standing for the account that you know; the other one is refused',
    async (context, { args: [name = ''] }) => {
      const { keepAlarm } = await import('./safety.ts')
      await keepAlarm(context, name)
    },
  )
}

function serverIn({ server = process.env.MESSAGEU_SERVER }: Options): string {
  if (server !== undefined) return server
  throw new Failure('no-server', {
    what: 'which server is not said',
    advice: "--server 'messageu://…', the link that the operator gave you; or the same in MESSAGEU_SERVER",
  })
}

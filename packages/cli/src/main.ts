import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { asFailure, exits, Failure } from './failure.ts'
import { addOperator } from './operator.ts'
import { complain, type Output } from './output.ts'
import { addV2 } from './v2/command.ts'
import { addV3 } from './v3/command.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

const program = new Command('messageu')
  .description('a private messenger that you host yourself')
  .version(version)
  .exitOverride()
  .configureOutput({ outputError() {} }) // told below, like every other failure

const args = process.argv.slice(2)

// ─── the commands: one line each ───
await addOperator(program, args)
addV3(program)
addV2(program)

const output: Output = { json: args.includes('--json'), out: process.stdout, err: process.stderr }

// whoever reads our output has seen enough
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit()
  throw error
})

try {
  await program.parseAsync()
} catch (error) {
  if (!isBrokenPipe(error)) await end(error)
}

async function end(error: unknown): Promise<void> {
  if (!(error instanceof CommanderError)) {
    const failure = asFailure(error)
    process.exitCode = failure.exitCode
    await complain(output, failure)
  } else if (error.exitCode !== 0) {
    process.exitCode = exits.usage
    if (error.code !== 'commander.help') await complain(output, wrongUsage(error))
  }
}

function wrongUsage({ message }: CommanderError): Failure {
  const known = program.commands.find((command) => command.name() === args[0])
  const help = known === undefined ? 'messageu --help' : `messageu ${known.name()} --help`
  return new Failure('usage', { what: message.replace(/^error: /, '').replaceAll('\n', ' '), advice: help })
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE'
}

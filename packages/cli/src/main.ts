import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { asFailure, exits, Failure } from './failure.ts'
import { operatorFamilies } from './operator.ts'
import { complain, type Output } from './output.ts'
import { addV2 } from './v2/command.ts'
import { v3Families } from './v3/command.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

const program = new Command('messageu')
  .description('a private messenger that you host yourself')
  .version(version)
  .exitOverride()
  .configureOutput({ outputError() {} }) // told below, like every other failure

const args = process.argv.slice(2)

// a line that begins with a command makes that one: making all of them takes as long as reading it
const families: typeof operatorFamilies = { ...operatorFamilies, ...v3Families, v2: addV2 }
const [word = ''] = args
for (const name of Object.hasOwn(families, word) ? [word] : Object.keys(families)) await families[name]?.(program, args)

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
await Promise.all([process.stdout, process.stderr].map(written))
process.exit() // by itself it would look first whether anything is left to do

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

/** Resolves once everything that was written is out, or nobody reads it. */
function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()))
}

function wrongUsage({ message }: CommanderError): Failure {
  const known = program.commands.find((command) => command.name() === args[0])
  const help = known === undefined ? 'messageu --help' : `messageu ${known.name()} --help`
  return new Failure('usage', { what: message.replace(/^error: /, '').replaceAll('\n', ' '), advice: help })
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE'
}

import type { Command } from 'commander'

export interface OperatorCommands {
  readonly serve: Command
  readonly admin: Command
}

/**
 * The commands of whoever runs a server. What two of them can do follows from the settings of the server: modules that
 * nobody else needs, loaded when the line speaks of one of the two.
 */
export async function addOperator(program: Command, args: readonly string[]): Promise<void> {
  const serve = program
    .command('serve')
    .description('run the server')
    .option('--json', 'one JSON object a line, for programs')
  const admin = program
    .command('admin')
    .description("the operator's tools for a data folder; those for people ask the server that runs on it")
  if ([serve, admin].some((command) => args.includes(command.name()))) {
    const { complete } = await import('./operatorcommands.ts')
    complete({ serve, admin })
  }
  program
    .command('demo')
    .description('two people, keys, a text and a file, as each side sees it')
    .action(async () => {
      const { demo } = await import('./demo/demo.ts')
      await demo(process.stdout)
    })
}

import type { Command } from 'commander'

type OperatorFamilies = Readonly<Record<string, (program: Command, args: readonly string[]) => Promise<void> | void>>

/**
 * The commands of whoever runs a server. What two of them can do follows from the settings of the server: modules that
 * nobody else needs, loaded when the line speaks of them.
 */
export const operatorFamilies: OperatorFamilies = {
  serve: async (program, args) => {
    const serve = program
      .command('serve')
      .description('run the server')
      .option('--json', 'one JSON object a line, for programs')
    if (!args.includes('serve')) return
    const { completeServe } = await import('./operatorcommands.ts')
    completeServe(serve)
  },
  admin: async (program, args) => {
    const admin = program
      .command('admin')
      .description("the operator's tools for a data folder; those for people ask the server that runs on it")
    if (!args.includes('admin')) return
    const { completeAdmin } = await import('./operatorcommands.ts')
    completeAdmin(admin)
  },
  demo: (program) => {
    program
      .command('demo')
      .description('two people, keys, a text and a file, as each side sees it')
      .action(async () => {
        const { demo } = await import('./demo/demo.ts')
        await demo(process.stdout)
      })
  },
}

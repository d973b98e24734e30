import { flagOf, type SettingName, settings } from '@messageu/server/settings'
import { type Command, Option } from 'commander'
import type { Output } from './output.ts'

/** The flags of `serve`: one for each setting of the server. */
const flags = Object.entries(settings).map(([name, { default: value, help }]) => {
  const flag = flagOf(name as SettingName)
  const option = new Option(typeof value === 'boolean' ? flag : `${flag} <value>`, `${help} (default: ${value})`)
  return { name: name as SettingName, option }
})

const json = (): Option => new Option('--json', 'one JSON object a line, for programs')
const data = (): Option => new Option('--data <folder>', `the data folder (default: ${settings.data.default})`)

/** The commands of whoever runs a server. Their modules are loaded when one of them runs. */
export function addOperator(program: Command): void {
  const serve = program.command('serve').description('run the server').addOption(json())
  for (const { option } of flags) serve.addOption(option)
  serve.option('--config <file>', 'a TOML file with settings').action(async (options: Record<string, unknown>) => {
    const { serve: run } = await import('./serve.ts')
    const given = flags.map(({ name, option }) => [name, options[option.attributeName()]] as const)
    const written = Object.fromEntries(given.filter(([, value]) => value !== undefined))
    await run({ flags: written, file: options.config as string | undefined }, outputFor(options)) // commander: a string
  })

  const admin = program.command('admin').description("the operator's tools; they work while the server runs")
  admin
    .command('doctor')
    .description('look at everything in the data folder')
    .addOption(data())
    .addOption(json())
    .action(async (options: AdminOptions) => {
      const { doctor } = await import('./admin.ts')
      await doctor(folderFrom(options), outputFor(options))
    })
  admin
    .command('backup <target>')
    .description('copy the data folder into a new one')
    .addOption(data())
    .addOption(json())
    .action(async (target: string, options: AdminOptions) => {
      const { makeBackup } = await import('./admin.ts')
      await makeBackup(folderFrom(options), target, outputFor(options))
    })
  admin
    .command('restore <source>')
    .description('make a new data folder from a backup')
    .addOption(data())
    .addOption(json())
    .action(async (source: string, options: AdminOptions) => {
      const { restoreBackup } = await import('./admin.ts')
      await restoreBackup(source, folderFrom(options), outputFor(options))
    })

  program
    .command('demo')
    .description('two people, keys, a text and a file, as each side sees it')
    .action(async () => {
      const { demo } = await import('./demo.ts')
      await demo(process.stdout)
    })
}

interface AdminOptions {
  readonly data?: string
  readonly json?: boolean
}

function folderFrom({ data: given }: AdminOptions): string {
  return given ?? process.env.MESSAGEU_DATA ?? settings.data.default
}

function outputFor({ json: wanted }: { json?: boolean }): Output {
  return { json: wanted ?? false, out: process.stdout, err: process.stderr }
}

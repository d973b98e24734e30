import { defaultOf, flagOf, isYesNo, type SettingName, settings } from '@messageu/server/settings'
import { type Command, Option } from 'commander'
import type { Output } from './output.ts'

/** The flags of `serve`: one for each setting of the server. */
const flags = (Object.keys(settings) as SettingName[]).map((name) => {
  const usage = `${flagOf(name)} ${isYesNo(name) ? '[yes]' : '<value>'}`
  return { name, option: new Option(usage, `${settings[name].help} (default: ${defaultOf(name)})`) }
})

const json = (): Option => new Option('--json', 'one JSON object a line, for programs')
const data = (): Option => new Option('--data <folder>', `the data folder (default: ${settings.data.default})`)

/** What `serve` can do. Its modules are loaded when it runs. */
export function completeServe(serve: Command): void {
  for (const { option } of flags) serve.addOption(option)
  serve.option('--config <file>', 'a TOML file with settings').action(async (options: Record<string, unknown>) => {
    const { serve: run } = await import('./serve.ts')
    const given = flags.map(({ name, option }) => [name, options[option.attributeName()]] as const)
    const written = Object.fromEntries(given.filter(([, value]) => value !== undefined))
    await run({ flags: written, file: options.config as string | undefined }, outputFor(options)) // commander: a string
  })
}

/** What `admin` can do, in the same way. */
export function completeAdmin(admin: Command): void {
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
  admin
    .command('invite')
    .description('a link that lets one person in, once, within 7 days')
    .option('--admin', 'who comes by it may invite, set quotas and block')
    .addOption(data())
    .addOption(json())
    .action(async (options: AdminOptions & { admin?: boolean }) => {
      const { invite } = await import('./admin.ts')
      await invite(folderFrom(options), { isAdmin: options.admin ?? false }, outputFor(options))
    })
  admin
    .command('accounts')
    .description('who has an account, with what they keep stored')
    .addOption(data())
    .addOption(json())
    .action(async (options: AdminOptions) => {
      const { accounts } = await import('./admin.ts')
      await accounts(folderFrom(options), outputFor(options))
    })
  admin
    .command('quota <name> <size>')
    .description('what an account may keep stored, such as 500MiB or 2GiB')
    .addOption(data())
    .addOption(json())
    .action(async (name: string, quota: string, options: AdminOptions) => {
      const { setQuota } = await import('./admin.ts')
      await setQuota(folderFrom(options), name, quota, outputFor(options))
    })
  admin
    .command('block <name>')
    .description('end the sessions of an account, and let it open none')
    .option('--undo', 'let it in again')
    .addOption(data())
    .addOption(json())
    .action(async (name: string, options: AdminOptions & { undo?: boolean }) => {
      const { block } = await import('./admin.ts')
      await block(folderFrom(options), name, { isDisabled: options.undo !== true }, outputFor(options))
    })
  admin
    .command('stats')
    .description('how much there is of what')
    .addOption(data())
    .addOption(json())
    .action(async (options: AdminOptions) => {
      const { stats } = await import('./admin.ts')
      await stats(folderFrom(options), outputFor(options))
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

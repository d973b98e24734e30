import { readFileSync } from 'node:fs'
import path from 'node:path'
import { defaultPort } from '@messageu/protocol/v3'
import { parse, TomlError } from 'smol-toml'
import { limits } from './limits.ts'
import { v2Limits } from './v2/limits.ts'
import { isLoopback } from './v2/loopback.ts'

/** A setting that cannot be used: what is wrong with it and where it came from. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** Reads what somebody wrote, as text (flag, environment) or as a TOML value. Undefined: not acceptable. */
interface Kind<T> {
  readonly expects: string
  read(value: unknown): T | undefined
}

const text: Kind<string> = {
  expects: 'a text',
  read: (value) => (typeof value === 'string' && value !== '' ? value : undefined),
}

const wholeNumber = (min: number, max: number): Kind<number> => ({
  expects: `a whole number from ${min} to ${max}`,
  read(value) {
    const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
    return typeof number === 'number' && Number.isInteger(number) && number >= min && number <= max ? number : undefined
  },
})

const share: Kind<number> = {
  expects: 'a percentage such as "5%"',
  read(value) {
    const match = typeof value === 'string' ? /^(\d{1,2}(?:\.\d+)?)%$/.exec(value) : null
    return match === null ? undefined : Number(match[1]) / 100
  },
}

const units: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }

const size: Kind<number> = {
  expects: 'a size such as "500MiB" or "16GiB"',
  read(value) {
    const match = typeof value === 'string' ? /^(\d{1,6})([KMGT]iB)$/.exec(value) : null
    return match === null ? undefined : Number(match[1]) * (units[match[2] as string] as number)
  },
}

const yesNo: Kind<boolean> = {
  expects: 'true or false',
  read: (value) =>
    value === true || value === 'true' ? true : value === false || value === 'false' ? false : undefined,
}

const oneOf = <const T extends string>(...words: readonly T[]): Kind<T> => ({
  expects: `one of ${words.join(', ')}`,
  read: (value) => words.find((each) => each === value),
})

/** A name or address with a port behind it, as clients dial it. */
const authority: Kind<string> = {
  expects: 'a host such as chat.example.org, chat.example.org:8443 or [2001:db8::1]:8443',
  read(value) {
    const match = typeof value === 'string' ? authorityForm.exec(value) : null
    const port = match?.[2] === undefined ? defaultPort : Number(match[2])
    return match !== null && port >= 1 && port <= 65_535 ? match[0].toLowerCase() : undefined
  },
}

const authorityForm = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::(\d{1,5}))?$/i

/**
 * Every setting of `serve`. A dot is a table in the TOML file; as a flag `v2.host` is `--v2-host`, in the environment
 * `MESSAGEU_V2_HOST`. Flags go before the environment, the environment before the file, the file before the default.
 */
// biome-ignore format: the columns are the point
export const settings = {
  'data':                     { kind: text,                 default: './messageu-data', help: 'folder that holds everything' },
  'host':                     { kind: text,                 default: '127.0.0.1',       help: 'address to listen on; anything but loopback exposes the server, with TLS' },
  'port':                     { kind: wholeNumber(0, 65535), default: 8470,             help: 'port for everything but version 2, 0 picks a free one' },
  'link-host':                { kind: authority,            default: undefined,         help: 'host, and perhaps port, that links to this server name; with TLS none of this machine alone', unset: 'where it listens' },
  'registration':             { kind: oneOf('open', 'invite', 'closed'), default: undefined, help: 'who may register: open, invite or closed', unset: 'open on loopback, invite elsewhere' },
  'directory':                { kind: yesNo,                default: undefined,         help: 'show everybody to everybody', unset: 'true on loopback, false elsewhere' },
  'quota':                    { kind: size,                 default: 2 ** 30,           help: 'what a new account may keep stored' },
  'requests-per-second':      { kind: wholeNumber(1, 1_000_000), default: 20_000,       help: 'requests of one device, twice as many at once' },
  'tls-cert':                 { kind: text,                 default: undefined,         help: 'certificate chain (PEM), read again on SIGHUP', unset: "elsewhere than on loopback one of the server's own" },
  'tls-key':                  { kind: text,                 default: undefined,         help: 'the private key of --tls-cert (PEM)', unset: 'none' },
  'behind-proxy':             { kind: yesNo,                default: false,             help: 'a proxy in front does TLS and passes Host and X-Forwarded-For on' },
  'metrics-port':             { kind: wholeNumber(0, 65535), default: undefined,        help: 'port on loopback for metrics, 0 picks a free one', unset: 'none' },
  'v2.host':                  { kind: text,                 default: '127.0.0.1',       help: 'address for version 2 clients; anything but loopback exposes them' },
  'v2.port':                  { kind: wholeNumber(0, 65535), default: 1234,             help: 'port for version 2 clients, 0 picks a free one' },
  'v2.private-ids':           { kind: yesNo,                default: false,             help: 'keep logins secret: hand out an id that lists do not show' },
  'v2.mailbox-quota':         { kind: size,                 default: limits.mailboxBytesMax, help: 'what may wait for one client' },
  'v2.clients':               { kind: wholeNumber(1, limits.clientsMax), default: limits.clientsMax, help: 'how many clients may register' },
  'v2.connections-per-address': { kind: wholeNumber(1, 65535), default: v2Limits.connectionsPerAddressMax, help: 'limit for each address but loopback' },
  'disk-reserve':             { kind: share,                default: limits.diskReserveShare, help: 'share of the disk that stays free' },
  'log-level':                { kind: oneOf('debug', 'info', 'warn', 'error'), default: 'info',            help: 'how much to log' },
} as const satisfies Record<string, Setting>

interface Setting {
  readonly kind: Kind<unknown>
  /** What counts where nobody says anything; `unset` tells in words what nothing means. */
  readonly default: unknown
  readonly help: string
  readonly unset?: string
}

export type SettingName = keyof typeof settings
type ValueOf<K> = K extends Kind<infer T> ? T : never
type Unset<S> = S extends { unset: string } ? undefined : never
export type Config = {
  readonly [N in SettingName]: ValueOf<(typeof settings)[N]['kind']> | Unset<(typeof settings)[N]>
}

/** The bytes that a size such as "500MiB" is; undefined for anything else. */
export const readSize = (text: string): number | undefined => size.read(text)

/** Whether a setting is a yes or no, so that its name alone says yes. */
export const isYesNo = (name: SettingName): boolean => settings[name].kind === yesNo
/** What counts where nobody says anything, in words. */
export const defaultOf = (name: SettingName): string => {
  const setting: Setting = settings[name]
  return setting.unset ?? String(setting.default)
}

const names = Object.keys(settings) as SettingName[]
const environmentPrefix = 'MESSAGEU_'
/** In the environment for other commands, and none of ours. */
const otherVariables: readonly string[] = [
  'MESSAGEU_CONFIG',
  'MESSAGEU_PROFILE',
  'MESSAGEU_DATA_DIR',
  'MESSAGEU_SERVER',
]

export const flagOf = (name: SettingName): string => `--${name.replaceAll('.', '-')}`
export const variableOf = (name: SettingName): string => environmentPrefix + name.replace(/[.-]/g, '_').toUpperCase()

export interface ConfigSources {
  /** As given on the command line, by setting. */
  readonly flags: Readonly<Partial<Record<SettingName, string | boolean>>>
  readonly environment: Readonly<Record<string, string | undefined>>
  /** A TOML file, if one was named. */
  readonly file?: string | undefined
  /** Where `port.info` is looked for: the original server reads its port from there. */
  readonly workingFolder: string
}

/** The settings to run with. Throws `ConfigError` for a value that cannot be used and for a key that does not exist. */
export function readConfig(sources: ConfigSources): Config {
  const layers = [
    flagLayer(sources.flags),
    environmentLayer(sources.environment),
    sources.file === undefined ? new Map<string, Written>() : fileLayer(sources.file),
    portInfoLayer(sources.workingFolder),
  ]
  const config: Record<string, unknown> = {}
  for (const name of names) {
    const written = layers.map((layer) => layer.get(name)).find((each) => each !== undefined)
    config[name] = written === undefined ? settings[name].default : accepted(name, written)
  }
  const read = config as Config // the loop gave every setting a value of its kind
  mustAgree(read)
  return read
}

/** Whether other machines can reach version 3, directly or through a proxy. */
export function isExposed(config: Pick<Config, 'host' | 'behind-proxy'>): boolean {
  return config['behind-proxy'] || !isLocalName(config.host)
}

/** Whether a name, or an address with or without a port, is this machine's own. */
function isLocalName(host: string): boolean {
  return /^(?:localhost|\[::1\])(?::\d+)?$/.test(host) || isLoopback(host)
}

/** Settings that are right by themselves and make no sense together. */
function mustAgree(config: Config): void {
  const cert = config['tls-cert']
  if ((cert === undefined) !== (config['tls-key'] === undefined))
    throw new ConfigError(`${flagOf('tls-cert')} and ${flagOf('tls-key')} belong together`)
  const linkHost = config['link-host']
  if (linkHost !== undefined && !isExposed(config) && cert === undefined && !isLocalName(linkHost))
    throw new ConfigError(`${flagOf('link-host')} is ${linkHost}, but only this machine can reach ${config.host}`)
  mustBeDialled(config)
  if (!config['behind-proxy']) return
  if (cert !== undefined)
    throw new ConfigError(`${flagOf('behind-proxy')} leaves TLS to the proxy: leave out ${flagOf('tls-cert')}`)
  if (linkHost === undefined)
    throw new ConfigError(`${flagOf('behind-proxy')} needs ${flagOf('link-host')}: the host that clients dial`)
}

/** Clients dial this machine's own names without TLS: a link with one does not lead to a server that speaks TLS. */
function mustBeDialled(config: Config): void {
  const speaksTls = config['tls-cert'] !== undefined || (isExposed(config) && !config['behind-proxy'])
  const linkHost = config['link-host']
  const dialled = linkHost ?? config.host
  if (!speaksTls || !isLocalName(dialled)) return
  const why = `this server speaks TLS, and clients dial ${dialled} without`
  throw new ConfigError(
    linkHost === undefined
      ? `${flagOf('tls-cert')} needs ${flagOf('link-host')}, the host that clients dial: ${why}`
      : `${flagOf('link-host')} is ${linkHost}, which leads nowhere: ${why}. Name the host by which other machines know this one`,
  )
}

/** A value and where it was written. */
interface Written {
  readonly value: unknown
  readonly where: string
}
type Layer = ReadonlyMap<string, Written>

function accepted(name: SettingName, { value, where }: Written): unknown {
  const { kind } = settings[name]
  const read = kind.read(value)
  if (read === undefined) throw new ConfigError(`${where} is ${JSON.stringify(value)}, but it takes ${kind.expects}`)
  return read
}

function flagLayer(flags: ConfigSources['flags']): Layer {
  return new Map(Object.entries(flags).map(([name, value]) => [name, { value, where: flagOf(name as SettingName) }]))
}

function environmentLayer(environment: ConfigSources['environment']): Layer {
  const layer = new Map<string, Written>()
  for (const [variable, value] of Object.entries(environment)) {
    if (!variable.startsWith(environmentPrefix) || otherVariables.includes(variable)) continue
    const name = names.find((each) => variableOf(each) === variable)
    if (name === undefined)
      throw new ConfigError(`there is no setting ${variable}; known are ${names.map(variableOf).join(', ')}`)
    layer.set(name, { value, where: variable })
  }
  return layer
}

function fileLayer(file: string): Layer {
  const layer = new Map<string, Written>()
  for (const [name, value] of flattened(parsedToml(file))) {
    if (!names.includes(name as SettingName))
      throw new ConfigError(`${file} has the key ${name}, which does not exist; known are ${names.join(', ')}`)
    layer.set(name, { value, where: `${name} in ${file}` })
  }
  return layer
}

function parsedToml(file: string): Record<string, unknown> {
  let content: string
  try {
    content = readFileSync(file, 'utf8')
  } catch (error) {
    throw new ConfigError(`the configuration ${file} cannot be read: ${(error as Error).message}`, { cause: error })
  }
  try {
    return parse(content)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    throw new ConfigError(`${file}, line ${error.line}: ${error.message.split('\n')[0]}`, { cause: error })
  }
}

function* flattened(table: Record<string, unknown>, prefix = ''): Iterable<[string, unknown]> {
  for (const [key, value] of Object.entries(table)) {
    const isTable = typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
    if (isTable) yield* flattened(value as Record<string, unknown>, `${prefix}${key}.`)
    else yield [prefix + key, value]
  }
}

/** The original's `port.info`: one line with the port. */
function portInfoLayer(folder: string): Layer {
  const file = path.join(folder, 'port.info')
  let content: string
  try {
    content = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map()
    throw new ConfigError(`${file} cannot be read: ${(error as Error).message}`, { cause: error })
  }
  return new Map([['v2.port', { value: content.trim(), where: file }]])
}

import { isatty } from 'node:tty'
import {
  BadCertificate,
  type Config,
  ConfigError,
  DamagedStorage,
  FolderInUse,
  isExposed,
  isLoopback,
  type Logger,
  NewerStorage,
  openLog,
  type RunningServer,
  readConfig,
  type SettingName,
  startServer,
} from '@messageu/server'
import { asFailure, Failure, isSystemError } from './failure.ts'
import { type Output, tell, write } from './output.ts'
import { qrCode } from './qr-code.ts'

/** What is under way may take this long to finish after SIGTERM; the rest of the ten seconds is for the disk. */
const graceMs = 7_000
/** A disk that stands still must not keep the process alive. */
const stopMs = 9_000

export interface ServeOptions {
  /** What stands on the command line, by setting. */
  readonly flags: Readonly<Partial<Record<SettingName, string | boolean>>>
  /** The TOML file that it names. */
  readonly file: string | undefined
}

/** Runs the server until a signal, or a failure, ends it. */
export async function serve(options: ServeOptions, output: Output): Promise<void> {
  const config = configFrom(options)
  const log = openLog(config['log-level'])
  const signals = new Signals() // before the start: whoever reads 'listening' may stop us at once
  const server = await started(config, log)
  signals.onReload(() => void server.reload())
  await warn(config, server, output)
  const { http, v2, link, adminInvite, metrics } = server
  await tell(
    output,
    { event: 'listening', http, v2, link, ...(adminInvite && { adminInvite }), ...(metrics && { metrics }) },
    welcome(config, server, output),
  )
  log.info({ event: 'listening', http, v2, ...(metrics && { metrics }) }, 'listening')
  const reason = await Promise.race([signals.end, server.failed.catch((error: Error) => error)])
  log.info({ event: 'stopping', reason: reason instanceof Error ? reason.message : reason }, 'stopping')
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void server.hurry())
  const patience = setTimeout(() => giveUp(log), stopMs)
  await server.stop(graceMs)
  clearTimeout(patience)
  log.info({ event: 'stopped' }, 'stopped')
  if (reason instanceof Error) throw cannotStore(reason)
}

/** Ends the process as a power cut would: `process.exit` waits for a thread that is stuck in the disk. */
function giveUp(log: Logger): void {
  log.error({ event: 'stop-failed' }, 'the disk does not answer: ended without waiting for it any longer')
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), 100) // time for the line to leave
}

/**
 * What the process is told from outside. SIGHUP asks for the certificate files to be read again, unless it says that the
 * terminal in which the server runs is gone: then there is nobody left to stop it.
 */
class Signals {
  /** Resolves with what ends the server. */
  readonly end: Promise<string>
  #reload: (() => void) | undefined

  constructor() {
    const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor))
    this.end = new Promise((resolve) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal))
      process.on('SIGHUP', () => {
        if (terminals.some((descriptor) => !isatty(descriptor))) resolve('the terminal is gone')
        else this.#reload?.()
      })
    })
  }

  onReload(reload: () => void): void {
    this.#reload = reload
  }
}

function configFrom({ flags, file = process.env.MESSAGEU_CONFIG }: ServeOptions): Config {
  try {
    return readConfig({ flags, environment: process.env, file, workingFolder: process.cwd() })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const advice = 'messageu serve --help lists every setting'
    throw new Failure('bad-setting', { what: error.message, advice, cause: error })
  }
}

async function started(config: Config, log: Logger): Promise<RunningServer> {
  try {
    return await startServer(config, log)
  } catch (error) {
    throw startFailure(error, config)
  }
}

function startFailure(error: unknown, config: Config): Failure {
  if (error instanceof FolderInUse)
    return new Failure('in-use', {
      what: error.message,
      advice: 'stop that server, or use another folder with --data',
      cause: error,
    })
  if (error instanceof DamagedStorage) return damaged(error, config.data)
  if (error instanceof NewerStorage)
    return new Failure('newer-storage', {
      what: error.message,
      advice: 'start the newer program; nothing was changed',
      cause: error,
    })
  if (isSystemError(error) && error.code === 'EADDRINUSE')
    return new Failure('port-taken', {
      what: `port ${portOf(error)} is taken by another program`,
      advice: `stop that program, or choose another port with ${flagOfPort(error, config)} (0 picks a free one)`,
      cause: error,
    })
  if (error instanceof BadCertificate)
    return new Failure('bad-setting', {
      what: error.message,
      advice: 'a chain and its key in PEM, with --tls-cert and --tls-key',
      cause: error,
    })
  return asFailure(error)
}

function damaged(error: DamagedStorage, folder: string): Failure {
  return new Failure('damaged', {
    what: error.message,
    why: 'what is stored is not what was stored; nothing was changed or deleted',
    advice: `messageu admin doctor --data ${folder}, then restore a backup into a new folder`,
    cause: error,
  })
}

function cannotStore(reason: Error): Failure {
  return new Failure('cannot-store', {
    what: 'the server can store nothing any more and has stopped',
    why: reason.message,
    advice: 'look at the disk, and run messageu admin doctor before the next start',
    cause: reason,
  })
}

/** Where a listener was to be: Node says it beside the system's words. */
interface ListenError extends NodeJS.ErrnoException {
  readonly address?: string
  readonly port?: number
}

function portOf({ address, port }: ListenError): string {
  return `${port} on ${address}`
}

function flagOfPort({ port }: ListenError, config: Config): string {
  if (port === config['metrics-port']) return '--metrics-port'
  return port === config.port ? '--port' : '--v2-port'
}

async function warn(config: Config, { v2 }: RunningServer, { err }: Output): Promise<void> {
  if (!isLoopback(v2.host)) await write(err, v2Exposed)
  if (isExposed(config) && config.registration === 'open') await write(err, openToAll)
  if (config['behind-proxy'] && !isExposed({ ...config, 'behind-proxy': false })) return
  if (config['behind-proxy']) await write(err, proxyExposed)
}

const v2Exposed = `warning: version 2 is open to other machines. It does not protect who writes to whom, does not prove
who wrote what, and lets whoever knows an id read and take that client's messages: docs/protocol-v2.md, section 10.
`
const openToAll = `warning: whoever reaches this server may register (--registration open).
`
const proxyExposed = `warning: other machines can reach the port behind the proxy, without TLS and under any address they claim.
Give it to the proxy alone: --host 127.0.0.1, or a firewall.
`

function welcome(config: Config, { v2, link, adminInvite }: RunningServer, output: Output): string {
  const server = v2.host.includes(':') ? `[${v2.host}]:${v2.port}` : `${v2.host}:${v2.port}`
  return `MessageU keeps everything in ${config.data}

Link to this server:
  ${link}
${adminInvite === undefined ? '' : invitation(adminInvite, output)}
In a second terminal:
  npx messageu register alice --server '${adminInvite ?? link}'
Version 2, on ${server}:
  npx messageu v2 register alice --server ${server} --dir alice
  npx messageu v2 --dir alice          (the menu)
Stop with Ctrl-C.`
}

function invitation(link: string, output: Output): string {
  return `
Invite for the first person, who becomes its administrator (once, within 7 days):
  ${link}
${qrCode(output, link)}`
}

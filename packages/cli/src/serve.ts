import {
  type Config,
  ConfigError,
  DamagedStorage,
  FolderInUse,
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

/** What is under way may take this long to finish after SIGTERM; the rest of the ten seconds is for the disk. */
const graceMs = 7_000
/** A disk that stands still must not keep the process alive. */
const stopMs = 9_500

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
  const signalled = firstSignal() // before the start: whoever reads 'listening' may stop us at once
  const server = await started(config, log)
  const { v2 } = server
  if (!isLoopback(v2.host)) await write(output.err, exposed)
  await tell(output, { event: 'listening', v2 }, welcome(config, v2))
  log.info({ event: 'listening', v2 }, 'listening')
  const reason = await Promise.race([signalled, server.failed.catch((error: Error) => error)])
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

function firstSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => resolve(signal))
  })
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
      what: `port ${config['v2.port']} on ${config['v2.host']} is taken by another program`,
      advice: 'stop that program, or choose another port with --v2-port (0 picks a free one)',
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

const exposed = `warning: version 2 is open to other machines. It does not protect who writes to whom, does not prove
who wrote what, and lets whoever knows an id read and take that client's messages: docs/protocol-v2.md, section 10.
`

function welcome(config: Config, { host, port }: { host: string; port: number }): string {
  const server = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  return `MessageU listens on ${server} (version 2) and keeps everything in ${config.data}

In a second terminal:
  npx messageu v2 register alice --server ${server} --dir alice
  npx messageu v2 --dir alice          (the menu)
Stop with Ctrl-C.`
}

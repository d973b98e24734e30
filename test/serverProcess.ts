import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { launcher } from '../packages/cli/test/launcher.ts'
import { straced, type Tracing } from './strace.ts'
import type { Address } from './v2peer.ts'

const repository = path.join(import.meta.dirname, '..')
const memory = '/dev/shm'
/** Where files are on a disk, also when those of other tests are in memory. */
const disk = process.env.TEST_DISK ?? tmpdir()

/** Compiled once for all the processes that the tests start: that takes two thirds off a start. */
export const compileCache = path.join(repository, 'node_modules/.cache/messageu-test')

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface RunOptions {
  /** Another `messageu` than the repository's. */
  readonly program?: string
  readonly cwd?: string
  /** On top of an environment without any settings of ours. */
  readonly environment?: Readonly<Record<string, string>>
  readonly tracing?: Tracing | undefined
  readonly umask?: number
  /** Standard input: nothing, unless a test writes to it. */
  readonly input?: 'ignore' | 'pipe'
}

/** A run of `messageu`, with what it prints. */
export class Run {
  readonly child: ChildProcess
  readonly exited: Promise<Exit>
  out = ''
  err = ''

  constructor(
    args: readonly string[],
    { program = launcher, cwd, environment, tracing, umask, input = 'ignore' }: RunOptions,
  ) {
    let command = [process.execPath, program, ...args]
    if (tracing !== undefined) command = straced(command, tracing)
    if (umask !== undefined) command = ['sh', '-c', `umask ${umask.toString(8)}; exec "$@"`, 'sh', ...command]
    const [file = '', ...rest] = command
    this.child = spawn(file, rest, {
      stdio: [input, 'pipe', 'pipe'],
      env: { ...plainEnvironment(), ...environment },
      ...(cwd === undefined ? {} : { cwd }),
    })
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.out += text
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.err += text
    })
    this.exited = once(this.child, 'close').then(([code, signal]) => ({ code, signal }) as Exit)
  }

  /** The JSON lines on standard output so far. */
  get events(): Record<string, unknown>[] {
    return linesOf(this.out)
  }

  /** The JSON lines of the log so far. */
  get log(): Record<string, unknown>[] {
    return linesOf(this.err)
  }

  /** Resolves as soon as `done` says so; rejects when the process ends before. */
  async until(done: () => boolean): Promise<void> {
    const { stdout, stderr } = this.child
    assert(stdout !== null && stderr !== null)
    while (!done()) {
      const ended = await Promise.race([once(stdout, 'data'), once(stderr, 'data'), this.exited])
      if ('code' in ended && !done()) throw new EndedEarly(ended, this.out, this.err)
    }
  }
}

/** The process ended before it did what it was started for. */
export class EndedEarly extends Error {
  override readonly name = 'EndedEarly'
  readonly exit: Exit

  constructor(exit: Exit, out: string, err: string) {
    super(`ended with ${exit.code ?? exit.signal}: ${out}${err}`)
    this.exit = exit
  }
}

/** Longer than any command takes; a server that should have refused to start would run for ever. */
const commandMs = 15_000

/** Runs `messageu` to its end. */
export async function run(
  args: readonly string[],
  { limitMs = commandMs, ...options }: RunOptions & { limitMs?: number } = {},
): Promise<Run & { exit: Exit }> {
  const started = new Run(args, options)
  const timeout = setTimeout(() => started.child.kill('SIGKILL'), limitMs)
  const exit = await started.exited
  clearTimeout(timeout)
  return Object.assign(started, { exit })
}

export interface ServerOptions extends RunOptions {
  readonly folder: string
  readonly flags?: readonly string[]
}

/** `messageu serve` in a process of its own. Killed when its scope ends, unless it was stopped before. */
export class ServerProcess implements AsyncDisposable {
  readonly run: Run
  /** Version 2. */
  readonly address: Address
  readonly http: Address
  readonly link: string

  private constructor(started: Run, { v2, http, link }: { v2: Address; http: Address; link: string }) {
    this.run = started
    this.address = v2
    this.http = http
    this.link = link
  }

  /** Resolves when the server listens. Rejects with `EndedEarly`. */
  static async start({ folder, flags = [], ...options }: ServerOptions): Promise<ServerProcess> {
    const started = new Run(
      ['serve', '--json', '--data', folder, '--port', '0', '--v2-port', '0', '--disk-reserve', '0%', ...flags],
      options,
    )
    await started.until(() => started.events.some(({ event }) => event === 'listening'))
    const listening = started.events.find(({ event }) => event === 'listening')
    return new ServerProcess(started, listening as { v2: Address; http: Address; link: string } & object)
  }

  get pid(): number {
    return this.run.child.pid as number // it has started
  }

  get exited(): Promise<Exit> {
    return this.run.exited
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    this.run.child.kill(signal)
    return this.exited
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL')
  }
}

/**
 * A folder that is gone when its scope ends. In memory where it can be: what a killed process wrote survives there just
 * as well, and syncs take no time.
 */
export async function temporaryFolder(
  where: 'disk' | 'memory' = 'disk',
): Promise<AsyncDisposable & { path: string; of(name: string): string }> {
  const parent = where === 'memory' && existsSync(memory) ? memory : disk
  const folder = await mkdtemp(path.join(parent, 'messageu-test-'))
  return {
    path: folder,
    of: (name) => path.join(folder, name),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

/** A copy of a data folder, without the socket that a killed server leaves behind. */
export function copyFolder(from: string, to: string): Promise<void> {
  return cp(from, to, { recursive: true, filter: (name) => path.basename(name) !== 'admin.sock' })
}

/** The environment without anything that would change what the tests start. */
function plainEnvironment(): Record<string, string | undefined> {
  const ours = Object.entries(process.env).filter(([name]) => !/^(MESSAGEU_|NODE_|npm_|XDG_)/.test(name))
  return { ...Object.fromEntries(ours), XDG_CACHE_HOME: compileCache, NODE_COMPILE_CACHE: compileCache }
}

function linesOf(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

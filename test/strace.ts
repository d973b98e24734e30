import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'

/** What to watch, and what to do to it. */
export interface Tracing {
  /** Names of system calls, as strace writes them. */
  readonly calls: readonly string[]
  /** Only calls on these files. */
  readonly paths?: readonly string[]
  /** Where the trace goes. Without it nothing is kept. */
  readonly output?: string
  /** `signal=KILL:when=7`: what happens at which of the calls. Each thread counts for itself. */
  readonly inject?: string
  /** The calls to which it happens, where these are not all that are watched. */
  readonly injectInto?: readonly string[]
  /** Writes what the buffers hold, in hexadecimal. */
  readonly buffers?: boolean
}

const missing = spawnSync('strace', ['-V']).error !== undefined
if (missing && process.env.CI === 'true') throw new Error('the crash tests need strace: apt-get install strace')
if (missing) console.error('!!! strace is missing: the crash tests are SKIPPED. apt-get install strace')

/** For the options of a test: says why it cannot run here, if so. */
export const needsStrace = { skip: missing && 'strace is missing' }

/** The command that runs `command` under strace. The tracer is the grandchild, so signals reach the command itself. */
export function straced(command: readonly string[], tracing: Tracing): string[] {
  const { calls, paths = [], output = '/dev/null', inject, injectInto = calls, buffers } = tracing
  // lets calls that nobody watches run at full speed, but swallows injected signals
  const fast = inject?.startsWith('signal=') ? [] : ['--seccomp-bpf']
  return [
    ...['strace', '-D', '-f', '-qq', '-y', ...fast, '-o', output, '-e', `trace=${calls.join(',')}`],
    ...paths.flatMap((path) => ['-P', path]),
    ...(inject === undefined ? [] : ['-e', `inject=${injectInto.join(',')}:${inject}`]),
    ...(buffers ? ['-s', '5000', '-xx'] : ['-s', '0']),
    ...command,
  ]
}

/**
 * Lets calls of a running process fail until its scope ends. What strace says is read to the end: it says something about
 * threads that begin, and of those that were inside a call when it came, and it leaves when nobody listens any more.
 */
export async function faulty(pid: number, { calls, paths = [] }: Tracing, error: string): Promise<AsyncDisposable> {
  const which = paths.flatMap((path) => ['-P', path])
  const options = ['-f', '-o', '/dev/null', '-e', `trace=${calls.join(',')}`, ...which]
  const inject = `inject=${calls.join(',')}:error=${error}`
  const tracer = spawn('strace', [...options, '-e', inject, '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(tracer, 'close')
  let said = ''
  const attached = new Promise<void>((resolve) => {
    tracer.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (/attached/.test(said)) resolve() // it has every thread by then
    })
  })
  await Promise.race([attached, ended])
  assert.match(said, /attached/)
  return {
    async [Symbol.asyncDispose]() {
      tracer.kill('SIGINT')
      const [, signal] = await ended
      assert.equal(signal, 'SIGINT', `the faults ended before their scope: ${said}`)
    },
  }
}

/** One system call, from where it began to where it returned. */
export interface Call {
  readonly thread: string
  readonly name: string
  /** Everything between the brackets; the result where the call came back. */
  readonly text: string
  result: string
  /** Lines of the trace: the order in which things happened. */
  readonly began: number
  ended: number
}

/** The calls of a trace, in the order in which they began. */
export function readTrace(trace: string): Call[] {
  const calls: Call[] = []
  const open = new Map<string, Call>()
  for (const [number, escaped] of trace.split('\n').entries()) {
    const line = escaped.replace(/<(\\x[^>]*)>/g, (_, name: string) => `<${unescaped(name)}>`)
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    const resumed = /^<\.\.\. \w+ resumed>(.*?)(?: = (.*))?$/.exec(rest)
    if (resumed !== null) {
      const call = open.get(thread)
      if (call !== undefined) Object.assign(call, { result: resumed[2] ?? '', ended: number })
      continue
    }
    const [, name, text = '', result = ''] = /^(\w+)\((.*?)(?: <unfinished \.\.\.>|\) += (.*))$/.exec(rest) ?? []
    if (name === undefined) continue
    const whole = result !== ''
    const call = { thread, name, text, result, began: number, ended: whole ? number : Number.POSITIVE_INFINITY }
    calls.push(call)
    if (!whole) open.set(thread, call)
  }
  return calls
}

/** The bytes of all the buffers in a call's text, one behind the other: `writev` has several. */
export function bytesOf({ text }: Call): Buffer {
  const buffers = Array.from(text.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g), ([, escaped = '']) => escaped)
  return Buffer.from(buffers.join('').replaceAll('\\x', ''), 'hex')
}

function unescaped(hexadecimal: string): string {
  return Buffer.from(hexadecimal.replaceAll('\\x', ''), 'hex').toString()
}

import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { launcher } from '../../packages/cli/test/launcher.ts'

/** A run of `messageu` at a pseudo-terminal. */
export class Terminal implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #out: { text: string }
  readonly ended: Promise<number | null>

  constructor(args: readonly string[]) {
    const line = [process.execPath, launcher, ...args].map((arg) => `'${arg}'`).join(' ')
    this.#child = spawn('script', ['-qefc', line, '/dev/null'], { stdio: 'pipe' })
    this.#out = gathered(this.#child)
    this.ended = once(this.#child, 'close').then(([code]) => code)
  }

  get text(): string {
    return this.#out.text
  }

  async until(text: string, { times = 1 } = {}): Promise<void> {
    while (this.text.split(text).length <= times) {
      assert.equal(this.#child.exitCode, null, `ended before it said ${text}: ${this.text}`)
      await turn()
    }
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.ended
  }
}

export function gathered({ stdout, stderr }: ChildProcess): { text: string } {
  const gathered = { text: '' }
  for (const stream of [stdout, stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      gathered.text += text
    })
  return gathered
}

/** Time for others. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}

function isThere(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

export const hasTerminal = process.platform === 'linux' && isThere('script')

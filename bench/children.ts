import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'

/** What a child can be asked to do, by name; arguments and results travel as plain values. */
export type Tasks = Record<string, (argument: never) => unknown>

interface Asked {
  readonly task: string
  readonly argument: unknown
}

interface Answered {
  readonly result?: unknown
  readonly error?: string
}

/** In the child: serves tasks until the parent leaves. */
export function serveTasks(tasks: Tasks): void {
  const answer = async ({ task, argument }: Asked): Promise<Answered> => {
    try {
      return { result: await (tasks[task] as (argument: unknown) => unknown)(argument) }
    } catch (error) {
      return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    }
  }
  process.on('message', (asked: Asked) => {
    void answer(asked).then((answered) => process.send?.(answered, () => {})) // the parent may be gone
  })
  process.on('disconnect', () => process.exit(0))
}

/** In the parent: a process of its own, so that what is measured has its own CPU time and memory. */
export class Child<T extends Tasks> implements AsyncDisposable {
  readonly #process: ChildProcess
  readonly #gone: Promise<never>
  #answer = Promise.withResolvers<Answered>()

  constructor(file: string, execArgv: readonly string[] = []) {
    this.#process = fork(new URL(file, import.meta.url), { execArgv: [...execArgv] })
    this.#process.on('message', (answer: Answered) => this.#answer.resolve(answer))
    this.#gone = once(this.#process, 'exit').then(([code]) => {
      throw new Error(`a bench process ended with ${code}`)
    })
    this.#gone.catch(() => {})
  }

  /** One task at a time. */
  async ask<N extends keyof T & string>(task: N, argument: Parameters<T[N]>[0]): Promise<Awaited<ReturnType<T[N]>>> {
    this.#answer = Promise.withResolvers()
    this.#process.send({ task, argument })
    const { result, error } = await Promise.race([this.#answer.promise, this.#gone])
    if (error !== undefined) throw new Error(error)
    return result as Awaited<ReturnType<T[N]>>
  }

  /** CPU time so far, in microseconds, of all threads that there are: the system counts it by the nanosecond for each. */
  cpuUs(): number {
    const threads = `/proc/${this.#process.pid}/task`
    const nanoseconds = readdirSync(threads).map((id) =>
      Number(readFileSync(`${threads}/${id}/schedstat`, 'utf8').split(' ')[0]),
    )
    return nanoseconds.reduce((sum, each) => sum + each, 0) / 1000
  }

  /** Resident memory in bytes: now, and the highest since `resetPeak`. */
  memory(): { now: number; peak: number } {
    const status = readFileSync(`/proc/${this.#process.pid}/status`, 'utf8')
    const kib = (key: string): number => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1]) * 1024
    return { now: kib('VmRSS'), peak: kib('VmHWM') }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exit = once(this.#process, 'exit')
    this.#process.disconnect()
    await exit
  }
}

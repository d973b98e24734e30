import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemRandom, type Transport } from '@messageu/client'
import { nodeTransport } from '@messageu/client/node'
import { readFrames } from '@messageu/protocol/v3'
import { FakeClock } from '../../../packages/client/test/fake-clock.ts'
import { still } from '../../../packages/client/test/messaging/stillness.ts'
import { backup, restore } from '../../../packages/server/src/admin/backup.ts'
import { compileCache, temporaryFolder } from '../../serverProcess.ts'
import { Ledger } from './ledger.ts'
import type { Answered, Asked, LeftBox } from './timed-server.ts'

const program = path.join(import.meta.dirname, 'timed-server.ts')
/** Without a message either way for so long, nothing is under way at the server that nobody waits for. */
const quietMs = 8
/** A server that is slow because its machine is busy answers within: no time passes while somebody waits for it. */
const answerMs = 5_000
/** Time passes in pieces of this length, or shorter ones where something is due. */
const tickMs = 1_000

/** No request has this number: the server has not said a word yet. */
const opening = -1

/** The server in a process of its own, living by the town's clock. */
class Served {
  readonly child: ChildProcess
  log = ''
  link = ''
  port = 0
  readonly #listening = Promise.withResolvers<void>()
  #asked: PromiseWithResolvers<Answered> | undefined

  constructor(folder: string, port: number, nowMs: number) {
    this.child = spawn(process.execPath, [program, folder, String(port), String(nowMs)], {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log += text
    })
    this.child.on('message', (answered: Answered) => {
      if (answered.kind === 'listening') {
        this.link = answered.link
        this.port = answered.port
        this.#listening.resolve()
      } else this.#asked?.resolve(answered)
    })
    this.child.on('exit', () => {
      this.#asked?.resolve({ kind: 'passed' })
      this.#listening.reject(new Error(`the server did not start: ${this.log}`))
    })
  }

  listening(): Promise<void> {
    return this.#listening.promise
  }

  async ask(asked: Asked): Promise<Answered> {
    this.#asked = Promise.withResolvers()
    if (!this.child.connected) throw new Error(`the server has ended by itself: ${this.log.slice(-2000)}`)
    this.child.send(asked)
    return this.#asked.promise
  }

  async end(how: 'stop' | 'SIGKILL'): Promise<void> {
    const ended = once(this.child, 'exit')
    if (how === 'stop') this.child.send({ kind: 'stop' } satisfies Asked)
    else this.child.kill(how)
    await ended
  }
}

/** A real server and one clock for it and for everybody who uses it. Time passes only when a history says so. */
export class Town implements AsyncDisposable {
  readonly clock = new FakeClock()
  readonly ledger = new Ledger()
  readonly #folder: Awaited<ReturnType<typeof temporaryFolder>>
  #server: Served | undefined
  #port = 0
  #data = 'server-1'
  #link = ''
  #moves = 0
  #lastHeardMs = 0
  /** Of each connection, the requests that have no answer. */
  readonly #unanswered = new Set<ReadonlySet<number>>()
  /** What the server logged of its own mistakes. */
  readonly mistakes: string[] = []
  readonly transport: Transport

  private constructor(folder: Awaited<ReturnType<typeof temporaryFolder>>) {
    this.#folder = folder
    this.transport = this.#heard(nodeTransport())
  }

  /** The same network, of which is known when it was last used, and what has no answer yet. */
  #heard(network: Transport): Transport {
    return {
      open: async (link, events, options) => {
        const asked = new Set<number>()
        this.#unanswered.add(asked.add(opening))
        const isOver = (): void => {
          this.#lastHeardMs = performance.now()
          this.#unanswered.delete(asked)
        }
        const heard = {
          message: (message: Uint8Array) => {
            this.#lastHeardMs = performance.now()
            asked.delete(opening) // the server speaks first
            for (const { request } of readFrames(message)) asked.delete(request)
            events.message(message)
          },
          closed: (...why: Parameters<typeof events.closed>) => {
            isOver()
            events.closed(...why)
          },
        }
        const channel = await network.open(link, heard, options).catch((error: unknown) => {
          isOver()
          throw error
        })
        return {
          certificate: channel.certificate,
          send: (message) => {
            this.#lastHeardMs = performance.now()
            for (const { request } of readFrames(message)) asked.add(request)
            channel.send(message)
          },
          close: () => {
            isOver()
            channel.close()
          },
        }
      },
    }
  }

  static async start(): Promise<Town> {
    const town = new Town(await temporaryFolder('memory'))
    await town.startServer()
    return town
  }

  get link(): string {
    return this.#link
  }

  get isServed(): boolean {
    return this.#server !== undefined
  }

  get world() {
    return { transport: this.transport, clock: this.clock, random: systemRandom }
  }

  async startServer(): Promise<void> {
    assert(this.#server === undefined)
    this.#server = new Served(this.#folder.of(this.#data), this.#port, this.clock.nowMs())
    await this.#server.listening()
    this.#port = this.#server.port
    this.#link = this.#server.link
  }

  async endServer(how: 'stop' | 'SIGKILL'): Promise<void> {
    const server = this.#server
    this.#server = undefined
    await server?.end(how)
    for (const line of server?.log.split('\n') ?? [])
      if (/"level":"(?:error|fatal)"|^\s+at |Error/.test(line)) this.mistakes.push(line)
  }

  /** A copy of the server's data while it runs, and how much had been accepted by then. */
  async backUp(name: string): Promise<number> {
    await backup(this.#folder.of(this.#data), this.#folder.of(name), new Date())
    return this.ledger.now
  }

  /** The server goes on from a copy. */
  async restore(name: string): Promise<void> {
    await this.endServer('SIGKILL')
    this.#moves += 1
    this.#data = `server-${this.#moves + 1}`
    await restore(this.#folder.of(name), this.#folder.of(this.#data), new Date())
    await this.startServer()
  }

  /** What lies in the server's boxes. */
  async waiting(): Promise<readonly LeftBox[]> {
    const answered = await this.#server?.ask({ kind: 'waiting' })
    assert(answered?.kind === 'waiting', `the server tells what it keeps: ${this.#server?.log.slice(-2000)}`)
    return answered.boxes
  }

  /** Until nothing happens any more by itself. */
  async quiet(): Promise<void> {
    for (let turns = 0; turns < 20_000; turns++) {
      await still()
      const isWaited = [...this.#unanswered].some(({ size }) => size > 0)
      if (performance.now() - this.#lastHeardMs > (isWaited ? answerMs : quietMs)) return
      await sleep(3)
    }
    throw new Error('it never comes to rest')
  }

  /** Lets time pass for everybody, and everything happen that comes of it. */
  async pass(ms: number): Promise<void> {
    await this.quiet()
    const end = this.clock.monotonicMs() + ms
    for (let left = ms; left > 0; left = end - this.clock.monotonicMs()) {
      const step = Math.min(left, Math.max(tickMs, this.clock.nextMs ?? left))
      await this.#server?.ask({ kind: 'pass', ms: step })
      await this.clock.pass(step)
      await this.quiet()
    }
  }

  /** The server runs on for so long while every device sleeps. */
  async age(days: number): Promise<void> {
    for (let day = 0; day < days; day++) {
      await this.#server?.ask({ kind: 'age', ms: 86_400_000 })
      this.clock.jump(86_400_000)
    }
    await this.quiet()
  }

  async over<T>(work: Promise<T>, { minutes = 10, what = 'it' } = {}): Promise<T> {
    let isOver = false
    const ended = work.finally(() => {
      isOver = true
    })
    ended.catch(() => {})
    for (let seconds = 0; seconds < minutes * 60; seconds++) {
      await this.quiet()
      if (isOver) return ended
      await this.pass(tickMs)
    }
    throw new Error(`${what} was not over after ${minutes} minutes`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.endServer('SIGKILL')
    await this.#folder[Symbol.asyncDispose]()
  }
}

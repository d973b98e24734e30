import type { Writable } from 'node:stream'
import {
  type Arrival,
  beginLinking,
  Client,
  finishLinking,
  MemoryStore,
  register,
  systemRandom,
} from '@messageu/client'
import { nodeWorld } from '@messageu/client/node'
import { newWords } from '@messageu/e2ee'
import { parseLink } from '@messageu/protocol/v3'
import { unlessAborted } from '../interrupt.ts'
import { write } from '../output.ts'
import { linesOf } from '../v3/arrival-lines.ts'
import { Labels } from '../v3/labels.ts'
import { screenOf } from './screen.ts'

const world = nodeWorld()
/** No step of the demo takes that long. */
const stepMs = 30_000
/** A conversation that nobody can go on with is begun anew after a second, instead of a minute. */
const repairMs = 1_000

export interface Stage {
  readonly link: string
  readonly out: Writable
}

/** One device of somebody, and the screen that shows what comes in. */
export class Side implements AsyncDisposable {
  readonly name: string
  readonly client: Client
  readonly #screen: Writable
  readonly #ending = new AbortController()
  readonly #seen: string[] = []
  #changed = Promise.withResolvers<void>()
  readonly #watching: Promise<void>

  private constructor(name: string, client: Client, out: Writable) {
    this.name = name
    this.client = client
    this.#screen = screenOf(name, out)
    this.#watching = this.#watch().catch(() => {}) // it ends with the side
  }

  /** The first device of a new account. */
  static async first(name: string, person: string, { link, out }: Stage): Promise<Side> {
    const store = new MemoryStore()
    const signal = AbortSignal.timeout(stepMs)
    await register({ link: parseLink(link), name: person, words: newWords(systemRandom), store, world, signal })
    const client = await Client.connect({ store, world, signal, repairMs })
    await client.idle()
    return new Side(name, client, out)
  }

  /** Another device of the account of `first`, by the two codes that people carry from one to the other. */
  static async linked(name: string, first: Side, { out }: Stage): Promise<Side> {
    const store = new MemoryStore()
    const signal = AbortSignal.timeout(stepMs)
    const code = await beginLinking({ store, world }, await first.client.offer())
    const admitted = first.client.admit(code, { signal })
    await finishLinking({ store, world, signal })
    const client = await Client.connect({ store, world, signal, repairMs })
    await admitted
    return new Side(name, client, out)
  }

  get signal(): AbortSignal {
    return AbortSignal.timeout(stepMs)
  }

  show(line: string): Promise<void> {
    return write(this.#screen, `${line}\n`)
  }

  async says(who: string, text: string): Promise<void> {
    await this.client.send(who, { text }, { signal: this.signal })
  }

  /** Resolves when a line that contains this has been shown. */
  async sees(part: string): Promise<void> {
    const { signal } = this
    while (!this.hasSeen(part)) await unlessAborted(this.#changed.promise, signal)
  }

  hasSeen(part: string): boolean {
    return this.#seen.some((line) => line.includes(part))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort()
    await this.#watching
    await this.client[Symbol.asyncDispose]()
  }

  async #watch(): Promise<void> {
    const labels = new Labels(this.client)
    for await (const batch of this.client.arrivals({ signal: this.#ending.signal }))
      for (const arrival of batch) await this.#see(arrival, labels)
  }

  async #see(arrival: Arrival, labels: Labels): Promise<void> {
    const line = await linesOf(arrival, labels)
    await this.show(line)
    this.#seen.push(line)
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }
}

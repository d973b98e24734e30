import assert from 'node:assert/strict'
import {
  type Arrival,
  beginLinking,
  Client,
  type ClientOptions,
  finishLinking,
  type Item,
  recover,
  register,
  systemClock,
  systemRandom,
  type Transport,
  type World,
} from '@messageu/client'
import { nodeTransport, openProfile } from '@messageu/client/node'
import { newWords, type RecoveryWords } from '@messageu/e2ee'
import { parseLink } from '@messageu/protocol/v3'
import { run, ServerProcess, temporaryFolder } from '../serverProcess.ts'

const patienceMs = 60_000

/** A server in a process of its own, and people with devices at it: each a profile on the disk and a client. */
export class Household implements AsyncDisposable {
  readonly #folder: Awaited<ReturnType<typeof temporaryFolder>>
  readonly #clients: Resident[] = []
  #server: ServerProcess
  readonly signal = AbortSignal.timeout(patienceMs * 3)

  private constructor(folder: Awaited<ReturnType<typeof temporaryFolder>>, server: ServerProcess) {
    this.#folder = folder
    this.#server = server
  }

  static async start(): Promise<Household> {
    const folder = await temporaryFolder('memory')
    return new Household(folder, await ServerProcess.start({ folder: folder.of('server') }))
  }

  get server(): ServerProcess {
    return this.#server
  }

  folderOf(name: string): string {
    return this.#folder.of(name)
  }

  /** The first device of a new account. */
  async person(name: string): Promise<Resident> {
    const words = newWords(systemRandom)
    await this.#as(name, async (store, world) => {
      await register({ link: parseLink(this.#server.link), name, words, store, world, signal: this.signal })
    })
    return this.open({ profile: name, words })
  }

  /** Two people who know each other and have a conversation. */
  async pair(): Promise<readonly [Resident, Resident]> {
    const [alice, bob] = [await this.person('alice'), await this.person('bob')]
    await befriend(alice, bob)
    return [alice, bob]
  }

  /** One more device of somebody: two codes, carried by hand. */
  async second(of: Resident, profile: string): Promise<Resident> {
    const code = await this.#as(profile, async (store, world) =>
      beginLinking({ store, world }, await of.client.offer()),
    )
    const admitted = of.client.admit(code, { signal: this.signal })
    await this.#as(profile, async (store, world) => finishLinking({ store, world, signal: this.signal }))
    const device = await this.open({ profile, words: of.words })
    await admitted
    return device
  }

  /** A new device by the words alone. */
  async recovered(of: Resident, profile: string): Promise<Resident> {
    await this.#as(profile, async (store, world) => {
      await recover({ link: parseLink(this.#server.link), words: of.words, store, world, signal: this.signal })
    })
    return this.open({ profile, words: of.words })
  }

  /** The device of a profile that there is. */
  async open(options: ResidentOptions): Promise<Resident> {
    const resident = await Resident.open(this.folderOf(options.profile), { signal: this.signal, ...options })
    this.#clients.push(resident)
    return resident
  }

  async killServer(): Promise<void> {
    await this.#server.end('SIGKILL')
  }

  /** On the same port, and the same folder unless it is another one. */
  async startServer({ folder = 'server' }: { folder?: string } = {}): Promise<void> {
    const { port } = this.#server.http
    this.#server = await ServerProcess.start({ folder: this.folderOf(folder), flags: ['--port', String(port)] })
  }

  /** The server as it is now, to go on from later. */
  async copyServer(): Promise<{ restore: () => Promise<void> }> {
    const [copy, server] = [this.folderOf('copy'), this.folderOf('server')]
    assert.equal((await run(['admin', 'backup', copy, '--data', server])).exit.code, 0)
    const restore = async (): Promise<void> => {
      await this.killServer()
      assert.equal((await run(['admin', 'restore', copy, '--data', this.folderOf('restored')])).exit.code, 0)
      await this.startServer({ folder: 'restored' })
    }
    return { restore }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client[Symbol.asyncDispose]()))
    await this.#server[Symbol.asyncDispose]()
    await this.#folder[Symbol.asyncDispose]()
  }

  async #as<T>(profile: string, work: (store: ClientOptions['store'], world: World) => Promise<T>): Promise<T> {
    await using opened = await openProfile(this.folderOf(profile))
    return await work(opened.store, worldOf(nodeTransport()))
  }
}

export interface ResidentOptions extends Partial<Pick<ClientOptions, 'repairMs' | 'tends'>> {
  readonly profile: string
  readonly words: RecoveryWords
  readonly transport?: Transport
}

/** A device that somebody looks at all the time: what it was shown, in order. */
export class Resident implements AsyncDisposable {
  readonly client: Client
  readonly words: RecoveryWords
  readonly profile: string
  readonly shown: Arrival[]
  readonly #signal: AbortSignal
  readonly #owned: AsyncDisposable
  readonly #looking: AbortController

  private constructor(parts: {
    client: Client
    words: RecoveryWords
    profile: string
    signal: AbortSignal
    owned: AsyncDisposable
  }) {
    this.client = parts.client
    this.words = parts.words
    this.profile = parts.profile
    this.#signal = parts.signal
    this.#owned = parts.owned
    this.#looking = new AbortController()
    this.shown = []
    void this.#look()
  }

  static async open(
    folder: string,
    { signal, words, profile, transport = nodeTransport(), ...rest }: ResidentOptions & { signal: AbortSignal },
  ): Promise<Resident> {
    await using opening = new AsyncDisposableStack()
    const { store } = opening.use(await openProfile(folder))
    const world = worldOf(transport)
    const client = opening.use(await Client.connect({ store, world, signal, patience: 'for-ever', ...rest }))
    return new Resident({ client, words, profile, signal, owned: opening.move() })
  }

  get name(): string {
    return this.client.account.identity.name
  }

  async say(who: string, text: string): Promise<void> {
    await this.client.send(who, { text }, { signal: this.#signal })
  }

  /** The texts that were shown here, in their order. */
  get heard(): readonly string[] {
    return this.shown.flatMap((arrival) => textOf(arrival) ?? [])
  }

  /** Waits until what is shown says so. */
  async until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
    for (const end = Date.now() + patienceMs; !(await holds()); ) {
      assert(Date.now() < end, `${this.profile}: ${what} does not come; shown: ${this.shown.map(inShort).join(', ')}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  async hears(...texts: readonly string[]): Promise<void> {
    await this.until(() => texts.every((text) => this.heard.includes(text)), texts.join(', '))
  }

  /** What stands in a conversation here, in short. */
  async history(who: string): Promise<readonly string[]> {
    const items = await this.client.history(who, { limit: 1_000 })
    return items.map((item) => textOf(item) ?? inShort(item))
  }

  async texts(who: string): Promise<readonly string[]> {
    const items = await this.client.history(who, { limit: 10_000 })
    return items.flatMap((item) => textOf(item) ?? [])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#looking.abort()
    await this.#owned[Symbol.asyncDispose]()
  }

  async #look(): Promise<void> {
    const signal = AbortSignal.any([this.#signal, this.#looking.signal])
    try {
      for await (const batch of this.client.arrivals({ signal })) this.shown.push(...batch)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}

/** Each has accepted the other, and has written. */
export async function befriend(one: Resident, other: Resident): Promise<void> {
  await one.say(other.name, `${one.name} greets`)
  await other.until(() => other.shown.some((each) => each.kind === 'told' && each.told.kind === 'request'), 'a request')
  await other.client.judge(one.name, 'accept', { signal: AbortSignal.timeout(patienceMs) })
  await other.say(one.name, `${other.name} greets back`)
  await one.hears(`${other.name} greets back`)
}

function textOf(arrival: Arrival | Item): string | undefined {
  return arrival.kind === 'message' && arrival.content.kind === 'text' ? arrival.content.body.text : undefined
}

function inShort(arrival: Arrival): string {
  switch (arrival.kind) {
    case 'message':
      return textOf(arrival) ?? arrival.content.kind
    case 'told':
      return `told ${arrival.told.kind}`
    case 'change':
      return `${arrival.change} by ${arrival.by.name}`
    case 'unopened':
      return `unopened ${arrival.reason}`
    case 'joined':
    case 'gap':
      return arrival.kind
  }
}

function worldOf(transport: Transport): World {
  return { transport, clock: systemClock, random: systemRandom }
}

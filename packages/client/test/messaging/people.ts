import { newWords } from '@messageu/e2ee'
import { type AccountId, type ConversationId, type DeviceId, toBase64url } from '@messageu/protocol/v3'
import type { World } from '../../src/connection.ts'
import { ClientError } from '../../src/errors.ts'
import { MemoryStore } from '../../src/memory-store.ts'
import { Client, type Sent } from '../../src/messaging/client.ts'
import type { ClientOptions } from '../../src/messaging/connecting.ts'
import type { Arrival, Item } from '../../src/messaging/items.ts'
import { beginLinking, finishLinking } from '../../src/messaging/linking.ts'
import { recover, register } from '../../src/registering.ts'
import type { Store } from '../../src/store.ts'
import { FakeClock } from '../fake-clock.ts'
import { never, random } from '../world.ts'
import { same } from './ledger.ts'
import { MessagingServer } from './messaging-server.ts'
import { still } from './stillness.ts'

/** One device of somebody, with a store of its own, and what it has shown since it was made. */
export class Device {
  readonly name: string
  readonly store: Store
  readonly identity: { readonly account: AccountId; readonly device: DeviceId }
  readonly #world: MessagingWorld
  /** What was shown, over all runs of the program. */
  readonly shown: Arrival[] = []
  /** What ended a session, or kept it from opening. */
  readonly ends: Error[] = []
  #outside: World | undefined
  #running: { client: Client; stop: AbortController; showing: Promise<void> } | undefined

  constructor(world: MessagingWorld, { name, store, identity }: Pick<Device, 'name' | 'store' | 'identity'>) {
    this.#world = world
    this.name = name
    this.store = store
    this.identity = identity
  }

  /** The same profile in another process, whose store and network may be worse. */
  anew({ store, world }: { store: Store; world: World }): Device {
    const device = new Device(this.#world, { name: this.name, store, identity: this.identity })
    device.#outside = world
    return device
  }

  /** Nothing that it does from now on is waited for. */
  die(): void {
    this.#running?.stop.abort()
    this.#running = undefined
  }

  get client(): Client {
    if (this.#running === undefined) throw new Error(`${this.name} is offline`)
    return this.#running.client
  }

  get isOnline(): boolean {
    return this.#running !== undefined
  }

  async comeOnline(options: Partial<ClientOptions> = {}): Promise<this> {
    const client = await Client.connect({
      store: this.store,
      world: this.#outside ?? this.#world.world,
      signal: never,
      patience: 'for-ever',
      onEvent: (event) => {
        if (event.kind !== 'phase' || (event.phase.phase !== 'lost' && event.phase.phase !== 'ended')) return
        const { why } = event.phase
        if (!(why instanceof ClientError) || why.reason !== 'ended') this.ends.push(why) // it was not closed by itself
      },
      ...options,
    })
    const stop = new AbortController()
    this.#running = { client, stop, showing: this.#show(client, stop.signal) }
    await still()
    return this
  }

  async goOffline(): Promise<void> {
    const running = this.#running
    this.#running = undefined
    if (running === undefined) return
    running.stop.abort()
    await running.client[Symbol.asyncDispose]()
    await running.showing
  }

  async #show(client: Client, signal: AbortSignal): Promise<void> {
    try {
      for await (const batch of client.arrivals({ signal })) this.shown.push(...batch)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  /** Says something, and waits until it is accepted and everybody who is there has it. */
  async say(who: string, text: string): Promise<Sent> {
    const sent = await this.#world.over(this.client.send(who, { text }, { signal: never }))
    await still()
    return sent
  }

  async sayTo(conversation: ConversationId, text: string): Promise<Sent> {
    const sent = await this.#world.over(this.client.sendTo(conversation, { text }, { signal: never }))
    await still()
    return sent
  }

  /** The texts that were shown, in the order in which they were; requests and changes apart. */
  get heard(): readonly string[] {
    return this.shown.flatMap((each) => textOf(each) ?? [])
  }

  /** What was told beside conversations. */
  told(kind: string): readonly Arrival[] {
    return this.shown.filter((each) => each.kind === 'told' && each.told.kind === kind)
  }

  kinds(kind: Item['kind']): readonly Arrival[] {
    return this.shown.filter((each) => each.kind === kind)
  }

  async history(who: string): Promise<readonly Item[]> {
    return this.client.history(who, { limit: 20_000 })
  }

  async historyOf(conversation: ConversationId): Promise<readonly Item[]> {
    const known = await this.client.describe(conversation)
    if (known?.kind === 'group') return this.history(`#${toBase64url(conversation)}`)
    return known?.peer === undefined ? [] : this.history(known.peer.name)
  }

  /** The texts of a conversation, as its history has them. */
  async texts(who: string): Promise<readonly string[]> {
    return (await this.history(who)).flatMap((each) => textOf(each) ?? [])
  }

  /** Where it stands in its conversations, for whoever looks for a cause. */
  async standings(): Promise<string> {
    const known = await Array.fromAsync(this.client.conversations())
    return known.map(({ title, standing }) => `${title ?? ''} ${standing}`).join(', ')
  }

  async members(conversation: ConversationId): Promise<readonly string[]> {
    return ((await this.client.describe(conversation))?.members ?? []).map(({ name }) => name).sort()
  }
}

function textOf(arrival: Arrival): string | undefined {
  return arrival.kind === 'message' && arrival.content.kind === 'text' ? arrival.content.body.text : undefined
}

/** A server, a clock, and people who use them. Time passes only when a test says so. */
export class MessagingWorld implements AsyncDisposable {
  readonly server: MessagingServer
  readonly clock = new FakeClock()
  readonly world: World
  readonly devices: Device[] = []

  private constructor(server: MessagingServer) {
    this.server = server
    server.nowMs = () => this.clock.nowMs()
    this.world = { transport: server, clock: this.clock, random }
  }

  static async start(): Promise<MessagingWorld> {
    return new MessagingWorld(await MessagingServer.start())
  }

  /** Others at the same server, who live by a clock of their own. */
  static at(server: MessagingServer): MessagingWorld {
    return new MessagingWorld(server)
  }

  /** Somebody with one device, who is online. */
  async person(name: string, { store = new MemoryStore(), ...options }: Partial<ClientOptions> = {}): Promise<Device> {
    const words = newWords(random)
    const { link } = this.server
    const account = await register({ link, name, words, store, world: this.world, signal: never })
    const device = new Device(this, { name, store, identity: account.identity })
    this.devices.push(device)
    return device.comeOnline(options)
  }

  /** Somebody with one device, who is online, and who can come back by the words with another one. */
  async personWithWords(name: string): Promise<{ first: Device; recovered: () => Promise<Device> }> {
    const words = newWords(random)
    const { link } = this.server
    const store = new MemoryStore()
    const { identity } = await register({ link, name, words, store, world: this.world, signal: never })
    const first = new Device(this, { name, store, identity })
    this.devices.push(first)
    await first.comeOnline()
    const recovered = async (): Promise<Device> => {
      const found = new MemoryStore()
      const account = await recover({ link, words, store: found, world: this.world, signal: never })
      const device = new Device(this, { name: `${name} II`, store: found, identity: account.identity })
      this.devices.push(device)
      return device.comeOnline()
    }
    return { first, recovered }
  }

  async people<const N extends readonly string[]>(...names: N): Promise<{ [K in keyof N]: Device }> {
    const people: Device[] = []
    for (const name of names) people.push(await this.person(name))
    return people as { [K in keyof N]: Device } // one for each name
  }

  /** Comes online, and is sent what waits for it only a while later. */
  async comeSlowly(device: Device, heldMs: number): Promise<void> {
    const { server } = this
    const isTheirs = (asking: DeviceId): boolean => same(asking, device.identity.device)
    server.lie = (name, _body, asking) =>
      name === 'credit' && asking.device !== undefined && isTheirs(asking.device) ? { kind: 'silence' } : undefined
    await device.comeOnline()
    await this.pass(heldMs)
    server.lie = undefined
    for (const session of server.sessionsOf(device.identity.device)) session.cut()
    await this.pass(heldMs)
  }

  /** One more device of somebody, who has one that manages the account. */
  async sibling(of: Device, { store = new MemoryStore() }: { store?: Store } = {}): Promise<Device> {
    const code = await beginLinking({ store, world: this.world }, await of.client.offer())
    const admitting = of.client.admit(code, { signal: never })
    const { identity } = await this.over(finishLinking({ store, world: this.world, signal: never }))
    const device = new Device(this, { name: `${of.name} II`, store, identity })
    this.devices.push(device)
    await device.comeOnline()
    await this.over(admitting)
    await still()
    return device
  }

  /** People who have written to each other, so that none is a stranger to another one. */
  async acquaint(...people: readonly Device[]): Promise<void> {
    for (const [i, one] of people.entries())
      for (const other of people.slice(i + 1)) {
        await this.over(other.client.judge(one.name, 'accept', { signal: never }))
        await this.over(one.client.judge(other.name, 'accept', { signal: never }))
      }
    await still()
  }

  async group(by: Device, title: string, ...others: readonly Device[]): Promise<ConversationId> {
    const names = others.map(({ name }) => name)
    const { conversation } = await this.over(by.client.createGroup(title, names, { signal: never }))
    await still()
    return conversation
  }

  /** Lets time pass, and everything happen that comes of it. */
  async pass(ms: number): Promise<void> {
    await still()
    const end = this.clock.monotonicMs() + ms
    for (;;) {
      const { nextMs } = this.clock
      const left = end - this.clock.monotonicMs()
      if (nextMs === undefined || nextMs > left) break
      await this.clock.pass(Math.max(0, nextMs))
      await still()
    }
    await this.clock.pass(end - this.clock.monotonicMs())
    await still()
  }

  /** Waits for something that may take time, which then passes: a minute at the most for each time that it is stuck. */
  async over<T>(work: Promise<T>, { minutes = 10 } = {}): Promise<T> {
    let isOver = false
    const ended = work.finally(() => {
      isOver = true
    })
    ended.catch(() => {})
    for (let seconds = 0; seconds < minutes * 60; seconds++) {
      await still()
      if (isOver) return ended
      await this.pass(1_000)
    }
    throw new Error(`it was not over after ${minutes} minutes`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const device of this.devices) await device.goOffline()
  }
}

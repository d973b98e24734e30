import { type Arrival, Client, ClientError, type Item, type Store } from '@messageu/client'
import { type AccountId, type ConversationId, type DeviceId, toBase64url } from '@messageu/protocol/v3'
import { Life, mortalStore, mortalWorld } from '../../../packages/client/test/mortal.ts'
import type { Town } from './town.ts'

const never = new AbortController().signal

/** What was handed out in one run of the program, in batches, and whether the run was killed. */
export interface Run {
  readonly batches: (readonly Arrival[])[]
  wasKilled: boolean
}

/** One device of somebody, over all runs of its program. */
export class Phone {
  readonly name: string
  readonly person: string
  readonly identity: { readonly account: AccountId; readonly device: DeviceId }
  readonly id: string
  readonly store: Store
  readonly #town: Town
  readonly runs: Run[] = []
  /** What ended a session for good. */
  readonly ends: Error[] = []
  readonly isRecovered: boolean
  isDropped = false
  /** Whoever was to drop it ended in the middle: it may be on its list still, where nobody uses it any more. */
  isDropUnsure = false
  #running: { client: Client; life: Life; run: Run; stop: AbortController; showing: Promise<void> } | undefined
  #coming: Promise<void> | undefined
  #life: Life | undefined

  constructor(
    town: Town,
    {
      name,
      person,
      store,
      identity,
      isRecovered = false,
    }: Pick<Phone, 'name' | 'person' | 'store' | 'identity'> & { isRecovered?: boolean },
  ) {
    this.#town = town
    this.name = name
    this.person = person
    this.store = store
    this.identity = identity
    this.id = toBase64url(identity.device)
    this.isRecovered = isRecovered
  }

  get client(): Client {
    if (this.#running === undefined) throw new ClientError('ended', `${this.name} is offline`)
    return this.#running.client
  }

  get isOnline(): boolean {
    return this.#running !== undefined
  }

  get isComing(): boolean {
    return this.#coming !== undefined
  }

  /** Resolves when it is there, or has died on the way. A server that is down is waited for. */
  comeOnline(): Promise<void> {
    this.#coming ??= this.#come().finally(() => {
      this.#coming = undefined
    })
    return this.#coming
  }

  async #come(): Promise<void> {
    const run: Run = { batches: [], wasKilled: false }
    const stop = new AbortController()
    const life = new Life(() => {
      run.wasKilled = true
      if (this.#running?.run === run) this.#running = undefined
      stop.abort()
    })
    this.#life = life
    const tapped = { ...this.#town.world, transport: this.#town.ledger.tap(this.#town.transport, this.identity.device) }
    const connecting = Client.connect({
      store: mortalStore(this.store, life),
      world: mortalWorld(tapped, life),
      signal: never,
      patience: 'for-ever',
      onEvent: (event) => {
        if (life.isOver || event.kind !== 'phase' || event.phase.phase !== 'ended') return
        const { why } = event.phase
        if (!(why instanceof ClientError) || why.reason !== 'ended') this.ends.push(why)
      },
    })
    const came = connecting.then((client) => {
      if (life.isOver) return
      this.runs.push(run)
      this.#running = { client, life, run, stop, showing: this.#show(client, run, stop.signal) }
    })
    await Promise.race([came, life.over])
  }

  /** It was to die, and does not. */
  liveOn(): void {
    this.#life?.goOn()
  }

  /** Dies after so many more steps, wherever that is. */
  endAfter(steps: number): void {
    this.#life?.endAfter(steps)
  }

  async goOffline(): Promise<void> {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    running.stop.abort()
    const ending = running.client[Symbol.asyncDispose]().then(() => running.showing)
    await Promise.race([ending, running.life.over]) // it may still die of what it does at the end
  }

  async #show(client: Client, run: Run, signal: AbortSignal): Promise<void> {
    try {
      for await (const batch of client.arrivals({ signal })) run.batches.push(batch)
    } catch (error) {
      if (!signal.aborted && !(error instanceof ClientError && error.reason === 'ended')) throw error
    }
  }

  get shown(): readonly Arrival[] {
    return this.runs.flatMap(({ batches }) => batches.flat())
  }

  async historyOf(conversation: ConversationId): Promise<readonly Item[]> {
    const known = await this.client.describe(conversation)
    if (known?.kind === 'group') return this.client.history(`#${toBase64url(conversation)}`, { limit: 20_000 })
    if (known?.kind === 'self') return this.client.history('me', { limit: 20_000 })
    return known?.peer === undefined ? [] : this.client.history(known.peer.name, { limit: 20_000 })
  }
}

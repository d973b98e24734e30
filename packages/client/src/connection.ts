import type { RandomBytes } from '@messageu/e2ee'
import {
  type Delivery,
  type Hello,
  type Link,
  type Notice,
  type OperationName,
  RefusedError,
  type SessionOpened,
} from '@messageu/protocol/v3'
import { type Clock, fraction } from './clock.ts'
import { ClientError } from './errors.ts'
import { begin, next, type Phase, type PhaseEvent } from './phase.ts'
import { type Prover, prove } from './proving.ts'
import type { Transport } from './transport.ts'
import { orAborted } from './waiting.ts'
import { type RequestOf, type ResponseOf, Wire } from './wire.ts'

/** What a connection needs from the world. */
export interface World {
  readonly transport: Transport
  readonly clock: Clock
  readonly random: RandomBytes
}

/** What a session that was just proved says about both sides. */
export interface Welcome {
  readonly hello: Hello
  readonly opened: SessionOpened
}

/** Whoever uses the connection. What `admit` or `deliver` throws ends the session, and a mistake of ours the connection. */
export interface Attendant {
  /** The server has proved itself. Nothing is asked of it, and nothing heard, before this resolves. */
  admit(welcome: Welcome): Promise<void>
  /** The server does not know the device: what that means. */
  unproved(why: RefusedError, signal: AbortSignal): Promise<Error>
  /** The first to ask in the new session. */
  opened(wire: Wire, opened: SessionOpened): void
  deliver(delivery: Delivery): void
  notice(notice: Notice): void
  /** Every change of the phase. */
  phase(phase: Phase): void
}

/** Requests that do the same when they are done twice: after a loss they are asked again without a word. */
const repeatable: ReadonlySet<OperationName> = new Set([
  'read-list',
  'append',
  'find',
  'people',
  'count-packages',
  'open',
  'create',
  'read-state',
  'read-tree',
  'leave',
  'explain',
  'conversations',
  'requests',
  'judge',
  'accounts',
  'set-account',
])

/** The way to one server as one device, for as long as it is wanted: comes back whenever it is lost. Protocol 3 §3. */
export class Connection implements AsyncDisposable {
  readonly #link: Link
  readonly #prover: Prover
  readonly #world: World
  readonly #attendant: Attendant
  readonly #scope = new AbortController()
  #phase: Phase = begin
  #wire: Wire | undefined
  #timer: Disposable | undefined
  #attempt: Promise<void>
  /** Replaced at every change of the phase, and resolved then. */
  #changed = Promise.withResolvers<void>()

  constructor(link: Link, prover: Prover, world: World, attendant: Attendant) {
    this.#link = link
    this.#prover = prover
    this.#world = world
    this.#attendant = attendant
    this.#attempt = this.#try()
  }

  get phase(): Phase {
    return this.#phase
  }

  /** Resolves once a session is open. With `patience: 'one-attempt'` the first loss is the end of the wait. */
  async ready({ signal, patience }: { signal: AbortSignal; patience: 'one-attempt' | 'for-ever' }): Promise<void> {
    await this.#open(signal, patience)
  }

  /**
   * The answer to one request, as soon as there is a session. A loss on the way is `lost` where asking twice would do
   * something twice; anything else is asked again. The signal ends the wait, not the work.
   */
  async request<N extends OperationName>(
    name: N,
    request: RequestOf<N>,
    { signal }: { signal: AbortSignal },
  ): Promise<ResponseOf<N>> {
    for (;;) {
      const wire = await this.#open(signal, 'for-ever')
      try {
        return await wire.request(name, request, { signal })
      } catch (error) {
        const isLost = error instanceof ClientError && error.reason === 'lost'
        if (!isLost || !repeatable.has(name)) throw error
      }
    }
  }

  /** Ends the connection for good. */
  end(why: Error): void {
    this.#step({ kind: 'end', why })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end(new ClientError('ended', 'the connection was closed on this side'))
    await this.#attempt
  }

  async #open(signal: AbortSignal, patience: 'one-attempt' | 'for-ever'): Promise<Wire> {
    for (;;) {
      signal.throwIfAborted()
      if (this.#phase.phase === 'ended') throw this.#phase.why
      if (this.#phase.phase === 'lost' && patience === 'one-attempt') throw this.#phase.why
      if (this.#phase.phase === 'open' && this.#wire !== undefined) return this.#wire
      await orAborted(this.#changed.promise, signal)
    }
  }

  #step(event: PhaseEvent): void {
    const before = this.#phase
    const phase = next(before, event)
    if (phase === before) return
    this.#phase = phase
    this.#enter(phase)
    this.#attendant.phase(phase)
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  #enter(phase: Phase): void {
    this.#timer?.[Symbol.dispose]()
    this.#timer = undefined
    switch (phase.phase) {
      case 'connecting':
        this.#attempt = this.#try()
        break
      case 'lost':
        this.#wire = undefined
        this.#timer = this.#world.clock.after(phase.delayMs, () => this.#step({ kind: 'due' }))
        break
      case 'ended':
        this.#scope.abort(phase.why)
        this.#wire?.[Symbol.dispose]()
        this.#wire = undefined
        break
      case 'greeted':
      case 'open':
        break
    }
  }

  /** One attempt, and the session that it leads to, up to its end. */
  async #try(): Promise<void> {
    const { clock, random } = this.#world
    const { signal } = this.#scope
    try {
      using wire = await Wire.open(this.#link, this.#world, { signal })
      this.#step({ kind: 'greeted' })
      this.#wire = wire
      const opened = await rootCause(wire, prove(wire, this.#link, this.#prover, { clock, random, signal }))
      await this.#attendant.admit({ hello: wire.hello, opened })
      wire.listen({
        deliver: (delivery) => this.#attendant.deliver(delivery),
        notice: (notice) => this.#hear(notice, wire),
      })
      this.#attendant.opened(wire, opened)
      this.#step({ kind: 'opened', atMs: clock.monotonicMs() })
      throw await wire.closed
    } catch (error) {
      const why = await this.#meaningOf(error instanceof Error ? error : new Error(String(error)))
      this.#step({ kind: 'lost', why, atMs: clock.monotonicMs(), chance: fraction(random) })
    }
  }

  async #meaningOf(why: Error): Promise<Error> {
    if (!(why instanceof RefusedError) || why.reason !== 'unproved') return why
    try {
      return await this.#attendant.unproved(why, this.#scope.signal)
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  /** What a notice means for the session; what it means for the rest is the attendant's. Protocol 3 §7.6. */
  #hear(notice: Notice, wire: Wire): void {
    if (notice.kind === 'superseded') this.end(new ClientError('superseded', 'another session of this device is newer'))
    else if (notice.kind === 'delisted')
      this.end(new ClientError('delisted', 'this device is no longer on the list of its account'))
    // whatever is outstanding is asked again in the next session
    else if (notice.kind === 'stopping') wire.fail(new ClientError('lost', 'the server goes down', notice.body))
    else this.#attendant.notice(notice)
  }
}

/** Why a wire ended says more than that a request was lost with it. */
async function rootCause<T>(wire: Wire, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof RefusedError) throw error
    throw error instanceof ClientError && error.reason === 'lost' ? await wire.closed : error
  }
}

import type { Clock } from '../src/clock.ts'
import type { World } from '../src/connection.ts'
import type { Store } from '../src/store.ts'
import type { Channel, Transport } from '../src/transport.ts'

/** One run of a program, which may end between any two of its steps. Nothing has any effect then. */
export class Life {
  #left = Number.POSITIVE_INFINITY
  readonly #channels = new Set<Channel>()
  readonly #onEnd: () => void
  readonly #over = Promise.withResolvers<void>()
  readonly over = this.#over.promise

  constructor(onEnd: () => void = () => {}) {
    this.#onEnd = onEnd
  }

  /** The one that comes to its end with this step, which does not happen any more. */
  static of(steps: number): Life {
    const life = new Life()
    life.endAfter(steps)
    return life
  }

  /** A step is a commit of the store, begun or done, and a message either way. */
  endAfter(steps: number): void {
    this.#left = Math.min(this.#left, steps)
    if (this.#left === 0) this.#end()
  }

  goOn(): void {
    if (!this.isOver) this.#left = Number.POSITIVE_INFINITY
  }

  step(): boolean {
    if (this.#left === 0) return false
    this.#left -= 1
    if (this.#left === 0) this.#end()
    return this.#left > 0
  }

  get isOver(): boolean {
    return this.#left === 0
  }

  /** The system closes what a process had open. */
  holds(channel: Channel): void {
    if (this.isOver) channel.close()
    else this.#channels.add(channel)
  }

  #end(): void {
    for (const channel of this.#channels) channel.close()
    this.#onEnd()
    this.#over.resolve()
  }
}

const dead = new Promise<never>(() => {})

export function mortalWorld({ transport, clock, random }: World, life: Life): World {
  return { transport: mortalTransport(transport, life), clock: mortalClock(clock, life), random }
}

export function mortalStore(store: Store, life: Life): Store {
  return {
    get revision() {
      return store.revision
    },
    get: (...range) => (life.isOver ? dead : store.get(...range)),
    read: (...range) => (life.isOver ? dead : store.read(...range)),
    async commit(changes, revision) {
      if (!life.step()) return dead
      const committed = await store.commit(changes, revision)
      return life.step() ? committed : dead
    },
    [Symbol.asyncDispose]: async () => {},
  }
}

function mortalTransport(transport: Transport, life: Life): Transport {
  return {
    async open(link, events, options) {
      const channel = await transport.open(
        link,
        {
          message: (message) => {
            if (life.step()) events.message(message)
          },
          closed: (why) => {
            if (!life.isOver) events.closed(why)
          },
        },
        options,
      )
      life.holds(channel)
      return {
        certificate: channel.certificate,
        send: (message) => {
          if (life.step()) channel.send(message)
        },
        close: () => channel.close(),
      }
    },
  }
}

function mortalClock(clock: Clock, life: Life): Clock {
  return {
    nowMs: () => clock.nowMs(),
    monotonicMs: () => clock.monotonicMs(),
    after: (ms, callback) =>
      clock.after(ms, () => {
        if (!life.isOver) callback()
      }),
  }
}

import { randomBytes } from 'node:crypto'
import { newWords, type RecoveryWords } from '@messageu/e2ee'
import type { World } from '../src/connection.ts'
import { MemoryStore } from '../src/memory-store.ts'
import { register } from '../src/registering.ts'
import { openSession, type Session, type SessionEvent, type SessionOptions } from '../src/session.ts'
import type { Store } from '../src/store.ts'
import { FakeClock, settled } from './fake-clock.ts'
import { FakeServer } from './fake-server.ts'

export const random = (count: number): Uint8Array => new Uint8Array(randomBytes(count))
export const never = new AbortController().signal

/** A fake server, and people with accounts at it. */
export class TestWorld {
  readonly server: FakeServer
  readonly clock = new FakeClock()
  readonly world: World

  private constructor(server: FakeServer) {
    this.server = server
    this.world = { transport: server, clock: this.clock, random }
  }

  static async start(): Promise<TestWorld> {
    return new TestWorld(await FakeServer.start())
  }

  async person(name: string): Promise<Person> {
    const store = new MemoryStore()
    const words = newWords(random)
    const account = await register({
      link: this.server.link,
      name,
      words,
      store,
      world: this.world,
      signal: never,
    })
    return { store, words, account, events: [] }
  }

  connect(person: Person, options: Partial<SessionOptions> = {}): Promise<Session> {
    const onEvent = (event: SessionEvent): void => void person.events.push(event)
    return openSession({ store: person.store, world: this.world, signal: never, onEvent, ...options })
  }
}

export interface Person {
  readonly store: Store
  readonly words: RecoveryWords
  readonly account: Awaited<ReturnType<typeof register>>
  readonly events: SessionEvent[]
}

/** Lets time pass whenever the connection waits for it, until the work is done. */
export async function comingBack<T>(world: TestWorld, { events }: Person, work: Promise<T>): Promise<T> {
  let isDone = false
  const done = work.finally(() => {
    isDone = true
  })
  done.catch(() => {})
  for (let round = 0; round < 10_000 && !isDone; round++) {
    await settled(1)
    const last = events.findLast((event) => event.kind === 'phase')
    if (last?.phase.phase === 'lost') await world.clock.pass(last.phase.delayMs)
  }
  return done
}

import type { Store } from '../../src/store.ts'
import type { Channel, Transport } from '../../src/transport.ts'
import type { Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** A device that dies after so many steps: commits of its store, and messages either way. Nothing has any effect then. */
export class Life {
  #left: number

  constructor(steps: number) {
    this.#left = steps
  }

  step(): boolean {
    if (this.#left > 0) this.#left -= 1
    return this.#left > 0
  }

  get isOver(): boolean {
    return this.#left === 0
  }
}

const dead = new Promise<never>(() => {})

/** Dies before something is stored, or after it before anybody hears of it. */
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

export function mortalTransport(transport: Transport, life: Life): Transport {
  return {
    async open(link, events, options): Promise<Channel> {
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

/** A life of `steps` steps of a device doing `work`, after which it is offline. */
export async function liveFor(
  steps: number,
  world: MessagingWorld,
  device: Device,
  work: (device: Device) => Promise<void>,
): Promise<'killed' | 'whole'> {
  await device.goOffline()
  const life = new Life(steps)
  const killed = device.anew({
    store: mortalStore(device.store, life),
    world: { ...world.world, transport: mortalTransport(world.server, life) },
  })
  const whole = killed.comeOnline().then(work)
  let isWhole = false
  whole.then(
    () => {
      isWhole = true
    },
    () => {},
  )
  for (let seconds = 0; seconds < 120 && !isWhole && !life.isOver; seconds++) {
    await still()
    if (!isWhole && !life.isOver) await world.pass(1_000)
  }
  await still()
  if (isWhole) await killed.goOffline()
  else killed.die()
  device.shown.push(...killed.shown)
  return isWhole ? 'whole' : 'killed'
}

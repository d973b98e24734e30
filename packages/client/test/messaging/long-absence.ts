import { parentPort, workerData } from 'node:worker_threads'
import type { Transport } from '../../src/transport.ts'
import { never } from '../world.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** What somebody sees who was away for a long time, and what it took. */
export interface LongAbsence {
  readonly heard: readonly string[]
  readonly history: readonly string[]
  readonly unopened: number
  readonly gaps: number
  readonly stuck: number
  /** Epochs that had passed. */
  readonly epochs: number
  /** Milliseconds by the server's clock. */
  readonly awayMs: number
  /** The most deliveries that were under way at once. */
  readonly most: number
  /** What the one who had written all of it heard in the end. */
  readonly answers: readonly string[]
}

export interface Course {
  readonly days: number
  /** Written while Bob is away, as many each day. */
  readonly texts: readonly string[]
}

const dayMs = 86_400_000
/** Written at the same time. */
const breath = 50

async function goThrough({ days, texts }: Course): Promise<LongAbsence> {
  await using world = await MessagingWorld.start()
  const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
  await world.acquaint(alice, bob, carol)
  const conversation = await world.group(alice, 'team', bob)
  const epoch = () => world.server.ledger(conversation)?.epoch ?? 0
  const before = { epoch: epoch(), nowMs: world.clock.nowMs() }
  await bob.goOffline()
  for (let day = 0; day < days; day++) {
    const today = texts.slice((day * texts.length) / days, ((day + 1) * texts.length) / days)
    for (let i = 0; i < today.length; i += breath) {
      const some = today.slice(i, i + breath)
      await Promise.all(some.map((text) => alice.client.send('#team', { text }, { signal: never })))
      world.clock.jump(Math.ceil((dayMs * some.length) / today.length))
    }
    if (day % 6 === 3) await visit(world, { host: alice, guest: carol })
  }
  const away = { epochs: epoch() - before.epoch, awayMs: world.clock.nowMs() - before.nowMs }
  const unstored = (): number => {
    const [session] = world.server.sessionsOf(bob.identity.device)
    const { acknowledged, waiting } = world.server.mailbox(bob.identity.device)
    const { delivered } = session ?? { delivered: 0 }
    return waiting.filter(({ position }) => position > acknowledged && position <= delivered).length
  }
  let most = 0
  const counting: Transport = {
    open: (link, events) =>
      world.server.open(link, {
        ...events,
        message(message) {
          events.message(message)
          most = Math.max(most, unstored())
        },
      }),
  }
  await bob.comeOnline({ world: { ...world.world, transport: counting } })
  await world.over(bob.client.caughtUp({ signal: never }))
  await still()
  const [heard, history] = [bob.heard, await bob.texts('#team')]
  await bob.say('#team', 'I am back')
  return {
    ...away,
    heard,
    history,
    most,
    unopened: bob.kinds('unopened').length,
    gaps: bob.kinds('gap').length,
    stuck: bob.told('stuck').length,
    answers: alice.heard,
  }
}

/** Somebody comes and goes: two epochs more. */
async function visit(world: MessagingWorld, { host, guest }: { host: Device; guest: Device }): Promise<void> {
  await world.over(host.client.addPeople('#team', [guest.name], { signal: never }))
  await world.over(host.client.removePeople('#team', [guest.name], { signal: never }))
}

parentPort?.postMessage(await goThrough(workerData))

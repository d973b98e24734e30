import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ConversationId, toBase64url } from '@messageu/protocol/v3'
import { never } from '../world.ts'
import type { MessagingServer } from './messaging-server.ts'
import { judge, type Promised } from './oracle.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

const budgetMs = 25_000
const stepsPerSeed = 60

/** Dice that fall the same way for the same seed: xorshift32. */
function dice(seed: number): (below: number) => number {
  let state = seed | 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/**
 * What the network and the server do meanwhile: cut sessions, deliver everything several times, and hold back what goes
 * to a device until they are told to stop. Nothing that was accepted is lost for good.
 */
class Trouble {
  readonly #server: MessagingServer
  #slow: string | undefined

  constructor(server: MessagingServer, roll: (below: number) => number) {
    this.#server = server
    server.twist = (to, parts) => {
      if (toBase64url(to) === this.#slow) {
        server.held = [...server.held, { to, parts }]
        return []
      }
      return Array.from({ length: 1 + (roll(4) === 0 ? roll(9) : 0) }, () => parts)
    }
  }

  /** What goes to this device waits from now on; what waited before goes out, in its order. */
  slow(device: Device | undefined): void {
    this.#slow = device && toBase64url(device.identity.device)
    const { held } = this.#server
    this.#server.held = []
    for (const { to, parts } of held) this.#server.slip(to, parts)
  }

  cut(device: Device): void {
    for (const session of this.#server.sessionsOf(device.identity.device)) session.cut()
  }

  heal(): void {
    this.slow(undefined)
    this.#server.twist = undefined
  }
}

async function run(seed: number): Promise<void> {
  const roll = dice(seed)
  await using world = await MessagingWorld.start()
  const devices = await world.people('alice', 'bob', 'carol', 'dave', 'erin')
  await world.acquaint(...devices)
  const groups: { conversation: ConversationId; owner: Device }[] = []
  for (const [i, title] of ['red', 'green', 'blue'].entries()) {
    const owner = devices[i] ?? devices[0]
    const others = devices.filter((each) => each !== owner && roll(4) > 0)
    groups.push({ conversation: await world.group(owner, title, ...others), owner })
  }
  const trouble = new Trouble(world.server, roll)
  const promised: Promised[] = []
  const underWay = new Set<string>()
  const begin = (what: string, work: Promise<void>): void => {
    underWay.add(what)
    void work.catch(() => {}).finally(() => underWay.delete(what))
  }
  const oneOf = <T>(all: readonly T[]): T => {
    const one = all[roll(all.length)]
    if (one === undefined) throw new Error('nothing to choose from')
    return one
  }

  for (let step = 0; step < stepsPerSeed; step++) {
    const device = oneOf(devices)
    const { conversation, owner } = oneOf(groups)
    const text = `${seed}.${step} by ${device.name}`
    const what = roll(20)
    if (what < 11 && device.isOnline)
      begin(
        text,
        device.client.sendTo(conversation, { text }, { signal: never }).then(({ sequence }) => {
          promised.push({ by: device, conversation, sequence, text })
        }),
      )
    else if (what < 13 && device !== owner && owner.isOnline) {
      const title = `#${toBase64url(conversation)}`
      const isThere = (await owner.members(conversation)).includes(device.name)
      begin(
        `${step}: ${isThere ? 'removal' : 'addition'} of ${device.name} by ${owner.name}`,
        isThere
          ? owner.client.removePeople(title, [device.name], { signal: never })
          : owner.client.addPeople(title, [device.name], { signal: never }).then(() => {}),
      )
    } else if (what < 15) trouble.cut(device)
    else if (what < 16) trouble.slow(device)
    else if (what < 17) trouble.slow(undefined)
    else if (what < 18 && device.isOnline) await device.goOffline()
    else if (!device.isOnline) await device.comeOnline()
    for (let turns = roll(4); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
    if (roll(3) === 0) await still()
    if (roll(4) === 0) await world.pass(roll(5_000))
  }

  trouble.heal()
  for (const device of devices) if (!device.isOnline) await device.comeOnline()
  for (let minute = 0; minute < 10 && (minute < 3 || underWay.size > 0); minute++) await world.pass(60_000)
  const unfinished = await Promise.all(devices.map(async (device) => `${device.name}: ${await device.standings()}`))
  assert.deepEqual([...underWay], [], unfinished.join('\n'))
  for (const [i, { conversation, owner }] of groups.entries()) {
    const members = await owner.members(conversation)
    for (const device of devices) {
      if (!members.includes(device.name)) continue
      const text = `${seed} in the end by ${device.name} in group ${i}`
      const { sequence } = await world.over(device.client.sendTo(conversation, { text }, { signal: never }))
      promised.push({ by: device, conversation, sequence, text })
    }
  }
  await world.pass(30_000)
  await judge(world, { devices, promised, title: `seed ${seed}` })
  for (const device of devices) {
    assert.deepEqual(device.kinds('gap'), [], `${device.name} misses something`)
    for (const alarm of ['fork', 'differs', 'alarm', 'stuck'])
      assert.deepEqual(device.told(alarm), [], `${device.name} is told of ${alarm}`)
  }
}

test('S05: five people in three groups, with everything going wrong that may, agree on what was said (I1, I2, I3)', async (context) => {
  const fixed = process.env.MESSAGING_SEED
  if (fixed !== undefined) return run(Number(fixed))
  const first = (Date.now() % 1_000_000) + 1
  const end = performance.now() + budgetMs
  let seed = first
  for (; seed === first || performance.now() < end; seed++)
    await run(seed).catch((cause: unknown) => {
      throw new Error(`again with MESSAGING_SEED=${seed}`, { cause })
    })
  context.diagnostic(`seeds ${first} to ${seed - 1}`)
})

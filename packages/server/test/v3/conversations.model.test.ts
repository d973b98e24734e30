import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ProtocolError } from '@messageu/protocol'
import type { ConversationId } from '@messageu/protocol/v3'
import fc from 'fast-check'
import { messagesIn } from '../../src/storage/stepsize.ts'
import { ConversationsWorld, type Heard, type Phone, until } from './conversationsworld.ts'

type Deed =
  | { kind: 'say'; who: number; where: number; times: number }
  | { kind: 'commit'; who: number; where: number; members: readonly boolean[] }
  | { kind: 'connect'; who: number; messages: number }
  | { kind: 'disconnect'; who: number }
  | { kind: 'acknowledge'; who: number; share: number }
  | { kind: 'trim' }
  | { kind: 'fail' }
  | { kind: 'pause' }
  | { kind: 'restart' }

const phones = 5
const places = 2
const who = fc.nat({ max: phones - 1 })
const where = fc.nat({ max: places - 1 })

const deed: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant('say' as const), who, where, times: fc.integer({ min: 1, max: 5 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      who,
      where,
      members: fc.array(fc.boolean(), { minLength: phones, maxLength: phones }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('connect' as const), who, messages: fc.constantFrom(0, 1, 3, 10_000) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('disconnect' as const), who }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('acknowledge' as const),
      who,
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'trim' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'fail' as const }) },
  { weight: 4, arbitrary: fc.constant({ kind: 'pause' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
)

/** What the server has said that it accepted. */
interface Accepted {
  readonly where: number
  readonly sequence: number
  readonly position: number
  readonly what: { kind: 'message'; by: number; text: string } | { kind: 'commit'; roster: readonly number[] }
}

/** What the devices were told, and nothing of what the server thinks. */
class Oracle {
  readonly accepted: Accepted[] = []
  readonly #heard = Array.from({ length: phones }, () => new Map<number, Heard>())
  readonly #acknowledged = Array.from({ length: phones }, () => 0)

  /** All that a session brought which began when everything up to `last` was acknowledged. */
  heard(who: number, heard: readonly Heard[], last: number): void {
    for (const each of heard) {
      assert(each.position > last, 'in the order of positions, and nothing that was acknowledged')
      last = each.position
      const before = this.#heard[who]?.get(each.position)
      if (before !== undefined) assert.deepEqual(each, before)
      this.#heard[who]?.set(each.position, each)
    }
  }

  acknowledgedBy(who: number): number {
    return this.#acknowledged[who] as number
  }

  acknowledged(who: number, through: number): void {
    this.#acknowledged[who] = Math.max(this.#acknowledged[who] as number, through)
  }

  check(): void {
    for (let where = 0; where < places; where++) {
      const here = this.accepted.filter((each) => each.where === where).sort((a, b) => a.sequence - b.sequence)
      const numbers = here.map(({ sequence }) => sequence)
      assert.deepEqual(
        numbers,
        Array.from(numbers, (_, i) => i + 1),
        'each sequence is given once, and none is left out',
      )
      const positions = here.map(({ position }) => position)
      assert.deepEqual(
        positions,
        positions.toSorted((a, b) => a - b),
        'positions and sequences have one order',
      )
      for (let who = 0; who < phones; who++) assert.deepEqual(this.#got(who, here), due(who, here), `device ${who}`)
    }
  }

  #got(who: number, here: readonly Accepted[]): string[] {
    const positions = new Set(here.map(({ position }) => position))
    return [...(this.#heard[who]?.values() ?? [])]
      .filter(({ position, kind }) => positions.has(position) && kind !== 'welcome')
      .sort((one, other) => one.position - other.position)
      .map(({ sequence, kind, text }) => `${sequence} ${kind === 'commit' ? kind : text}`)
  }
}

/** What a device has to have heard in a conversation, in order. */
function due(who: number, here: readonly Accepted[]): string[] {
  let isMember = who === 0
  const due: string[] = []
  for (const { sequence, what } of here) {
    if (what.kind === 'message') {
      if (isMember && what.by !== who) due.push(`${sequence} ${what.text}`)
      continue
    }
    const stays = what.roster.includes(who)
    if (isMember || stays) due.push(`${sequence} commit`)
    isMember = stays
  }
  return due
}

async function run(kind: string, deeds: readonly Deed[]): Promise<void> {
  await using world = await ConversationsWorld.start(kind)
  const all: Phone[] = [...world.person('alice', 2), ...world.person('bob', 2), ...world.person('carol')]
  const [first] = all as [Phone]
  const conversations: ConversationId[] = []
  for (let where = 0; where < places; where++) conversations.push(await world.group(first))
  const oracle = new Oracle()
  const underWay: Promise<void>[] = []
  /** Who has a session, and what was acknowledged when it began. */
  const connected = new Map<number, number>()
  let said = 0

  const note = (
    asked: Promise<{ sequence: number; position: number }>,
    where: number,
    what: Accepted['what'],
  ): void => {
    underWay.push(
      attempt(asked.then(({ sequence, position }) => oracle.accepted.push({ where, sequence, position, what }))).then(
        () => {},
      ),
    )
  }
  const disconnect = (who: number): void => {
    const since = connected.get(who)
    if (since === undefined) return
    connected.delete(who)
    const phone = all[who] as Phone
    oracle.heard(who, phone.line.heard, since)
    phone.disconnect()
  }
  const connect = async (who: number, messages: number): Promise<void> => {
    disconnect(who)
    await (all[who] as Phone).connect({ messages, bytes: messages === 0 ? 0 : 2 ** 24 })
    connected.set(who, oracle.acknowledgedBy(who))
  }
  const does: { [K in Deed['kind']]: (deed: Extract<Deed, { kind: K }>) => Promise<void> | void } = {
    say: ({ who, where, times }) => {
      for (let i = 0; i < times; i++) {
        const text = `${++said} by ${who}`
        note((all[who] as Phone).say(conversations[where] as ConversationId, text), where, {
          kind: 'message',
          by: who,
          text,
        })
      }
    },
    commit: ({ who, where, members }) => {
      const roster = all.flatMap((_, i) => (i === who || members[i] === true ? [i] : []))
      const asked = (all[who] as Phone).commit(
        conversations[where] as ConversationId,
        roster.map((i) => all[i] as Phone),
      )
      note(asked, where, { kind: 'commit', roster })
    },
    connect: ({ who, messages }) => connect(who, messages),
    disconnect: ({ who }) => disconnect(who),
    acknowledge: async ({ who, share }) => {
      if (!connected.has(who)) return
      const { heard } = (all[who] as Phone).line
      const through = heard[Math.floor(share * (heard.length - 1))]?.position
      if (through === undefined) return
      const taken = await attempt((all[who] as Phone).acknowledge(through))
      if (taken) oracle.acknowledged(who, through)
    },
    trim: () => world.trim(),
    fail: () => {
      let left = 1
      world.failing = (step) => messagesIn(step) > 0 && left-- > 0
    },
    pause: async () => {
      await Promise.all(underWay)
    },
    restart: async () => {
      await Promise.all(underWay)
      for (const who of [...connected.keys()]) disconnect(who)
      await world.restart()
    },
  }
  for (const each of deeds) await (does[each.kind] as (deed: Deed) => Promise<void> | void)(each)

  await Promise.all(underWay)
  for (let who = 0; who < phones; who++) await connect(who, 10_000)
  await until(() => all.every(({ device }) => world.open.deliveries.isLive(device.number)))
  for (let who = 0; who < phones; who++) disconnect(who)
  oracle.check()
}

/** Whether something was done: a refusal is no mistake here. */
async function attempt(asked: Promise<unknown>): Promise<boolean> {
  try {
    await asked
    return true
  } catch (error) {
    if (error instanceof ProtocolError) return false
    throw error
  }
}

for (const [kind, numRuns] of [
  ['memory', 200],
  ['sqlite', 15],
] as const)
  describe(`conversations on ${kind}, whatever happens`, () => {
    test('I1 I2 I3: what was accepted is delivered to whom it was for, in one order, over restarts and failures', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(deed, { minLength: 10, maxLength: 80 }), (deeds) => run(kind, deeds)),
        { numRuns, endOnFailure: kind === 'sqlite' },
      )
    })
  })

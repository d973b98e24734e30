import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '@messageu/protocol/v3'
import { boxOf } from '../../src/v3/boxes.ts'
import type { Schedule } from '../../src/v3/trimming.ts'
import { ConversationsWorld, type Phone, refusal, settled, until } from './conversationsworld.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
/** How much longer than promised something may stay while the server runs: between two marks, and two looks. */
const grainMs = 7 * hourMs

/** The server runs for a while, and looks at the end. */
async function run(world: ConversationsWorld, ms: number): Promise<void> {
  world.runMs += ms
  await world.open.retention.tick()
}

/** Until it is certain that what is there now counts as this old. */
async function age(world: ConversationsWorld, ms: number): Promise<void> {
  await run(world, grainMs)
  await run(world, ms)
}

for (const kind of ['memory', 'sqlite'])
  describe(`retention on ${kind}`, () => {
    test('C16: messages that nobody fetches go after 45 days, commits and Welcomes after 90, and not before', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      const { number, boxes } = (await world.open.conversations.parts.shelf.find(conversation)) ?? assert.fail()
      assert(number > 0)
      for (let i = 0; i < 3; i++) await alice.say(conversation, `${i}`)
      const counts = (): number[] =>
        [boxes.application, boxes.handshake, boxOf('welcome', bob.device.number)].map((box) =>
          world.archive.countOf(box),
        )
      await age(world, limits.retentionMs - 1)
      assert.deepEqual(counts(), [3, 1, 1])
      await run(world, 1)
      assert.deepEqual(counts(), [0, 1, 1])
      await run(world, limits.handshakeRetentionMs - limits.retentionMs - 1)
      assert.deepEqual(counts(), [0, 1, 1])
      await run(world, 1)
      assert.deepEqual(counts(), [0, 0, 0])
    })

    test('C16: what is younger stays, and is delivered; the sequence goes on', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'old')
      await age(world, 10 * dayMs)
      await alice.say(conversation, 'young')
      await run(world, 36 * dayMs)
      await world.restart()
      await bob.connect()
      await until(() => world.open.deliveries.isLive(bob.device.number))
      assert.deepEqual(bob.line.texts, ['young'])
      assert.deepEqual(await bob.ask('explain', { conversation, from: 1, through: 9 }), [
        { from: 1, through: 1, why: 'waiting' },
        { from: 2, through: 2, why: 'expired' },
        { from: 3, through: 3, why: 'waiting' },
      ])
      await run(world, 60 * dayMs)
      await world.restart([bob])
      assert.equal((await alice.say(conversation, 'next', { generation: 1, epoch: 1 })).sequence, 4)
    })

    test('C16: what was acknowledged before it expired is not called expired', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol] = ['a', 'b', 'c'].flatMap((name) => world.person(name)) as [Phone, Phone, Phone]
      const conversation = await world.group(alice, bob, carol)
      await alice.say(conversation, 'old')
      await bob.connect()
      await until(() => bob.line.texts.length === 1)
      await bob.acknowledge()
      await age(world, 46 * dayMs)
      const why = async (phone: Phone): Promise<unknown> =>
        (await phone.ask('explain', { conversation, from: 2, through: 2 }))[0]?.why
      assert.equal(await why(bob), 'acknowledged')
      assert.equal(await why(carol), 'expired')
    })

    test('K10: a wall clock that jumps expires nothing, and neither does the time in which the server was down', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'hello')
      for (const jumpMs of [hourMs, -hourMs, 3650 * dayMs, -2 * 3650 * dayMs, 5000 * dayMs]) {
        world.wallMs += jumpMs
        await run(world, 8 * hourMs)
        await world.restart()
        world.runMs = 0 // a monotonic clock begins anew with the machine
        await world.open.retention.tick()
      }
      await alice.say(conversation, 'again', { generation: 1, epoch: 1 })
      assert.equal(world.stored(conversation), 3)
      await bob.connect()
      await until(() => bob.line.texts.length === 2)
    })

    test('K10: the age is kept over restarts: what waits does not begin anew each time', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'hello')
      for (let day = 0; day < 92; day++) {
        await run(world, dayMs)
        if (day % 4 === 0) {
          await world.restart()
          world.runMs = 0
          await world.open.retention.tick()
        }
        await alice.ask('read-state', { conversation })
        if (day === 40) assert.equal(world.stored(conversation), 2)
        if (day === 50) assert.equal(world.stored(conversation), 1)
      }
      assert.equal(world.stored(conversation), 0)
    })

    test('many conversations are done in one look', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
      const conversations = await Promise.all(Array.from({ length: 30 }, () => world.group(alice)))
      for (const conversation of conversations) await alice.commit(conversation, [alice, bob])
      for (const conversation of conversations) await alice.say(conversation, 'x')
      await age(world, 91 * dayMs)
      for (const conversation of conversations) assert.equal(world.stored(conversation), 0)
      assert.equal(world.archive.countOf(boxOf('welcome', bob.device.number)), 0)
      const { ledgers } = world.open.conversations.parts
      const ledger = await ledgers.of(alice.account)
      const [info, tree] = ['group in epoch 1'.length, 'tree of epoch 0 by '.length + 32]
      assert.equal(ledger.storedBytes, 30 * (info + 2 * tree), 'what the Welcomes needed goes with the next commit')
      for (const conversation of conversations) await alice.commit(conversation, [alice, bob])
      await age(world, 91 * dayMs)
      assert.equal(ledger.storedBytes, 30 * (info + tree))
    })

    test('what cannot be written now is done by the next look', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'x')
      await run(world, grainMs)
      world.failing = () => true
      await run(world, 46 * dayMs)
      assert.equal(world.stored(conversation), 2)
      world.failing = () => false
      await settled()
      await run(world, 0)
      assert.equal(world.stored(conversation), 1)
    })

    test('it looks by itself, again and again, and says when something is wrong', async () => {
      const due: { afterMs: number; run: () => void; isOff: boolean }[] = []
      const schedule: Schedule = (afterMs, run) => {
        const entry = { afterMs, run, isOff: false }
        due.push(entry)
        return () => {
          entry.isOff = true
        }
      }
      await using world = await ConversationsWorld.start(kind, { schedule })
      let looks = 0
      world.failing = ({ objects = [] }) => {
        looks += objects.length
        return false
      }
      const wrong: unknown[] = []
      world.open.retention.start((error) => wrong.push(error))
      for (let look = 1; look <= 3; look++) {
        assert(due.length === look)
        due[look - 1]?.run()
        await until(() => due.length === look + 1)
        assert.equal(looks, look)
      }
      world.failing = () => {
        throw new Error('a mistake of ours')
      }
      due[3]?.run()
      await until(() => wrong.length === 1)
      world.failing = () => false
      world.open.retention.start(() => {})
      world.open[Symbol.dispose]()
      assert.equal(due.at(-1)?.isOff, true)
    })

    test('trimming waits for a moment, so that much goes at once, and is called off at the end', async () => {
      const due: { run: () => void; isOff: boolean }[] = []
      const schedule: Schedule = (_, run) => {
        const entry = { run, isOff: false }
        due.push(entry)
        return () => {
          entry.isOff = true
        }
      }
      await using world = await ConversationsWorld.start(kind, { schedule })
      const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      for (const phone of [alice, bob]) {
        await phone.connect()
        await until(() => world.open.deliveries.isLive(phone.device.number))
        await phone.acknowledge()
      }
      assert.equal(due.length, 1)
      assert.equal(world.stored(conversation), 1)
      due[0]?.run()
      await until(() => world.stored(conversation) === 0)
      await alice.say(conversation, 'x')
      await until(() => bob.line.texts.length === 1)
      await bob.acknowledge()
      assert.equal(due.length, 2)
      world.open[Symbol.dispose]()
      assert.equal(due[1]?.isOff, true)
      await assert.rejects(bob.acknowledge(Number.MAX_SAFE_INTEGER), refusal('not-permitted'))
    })
  })

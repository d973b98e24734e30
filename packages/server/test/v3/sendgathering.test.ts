import assert from 'node:assert/strict'
import { describe, suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { decode, encode } from '@messageu/protocol'
import {
  answers,
  type ConversationId,
  encodeFrame,
  events,
  limits,
  operations,
  Send,
  type SendId,
} from '@messageu/protocol/v3'
import { archiveLimits } from '../../src/archive.ts'
import { SentRun } from '../../src/storage/sentrun.ts'
import { messagesIn } from '../../src/storage/stepsize.ts'
import { acceptedFrames } from '../../src/v3/acceptedframes.ts'
import { LetterRun } from '../../src/v3/letterrun.ts'
import { contentBytesOf, digestOf, Letter } from '../../src/v3/letters.ts'
import { Outstanding } from '../../src/v3/outstanding.ts'
import { SendInPlace } from '../../src/v3/sendinplace.ts'
import { ConversationsWorld, type Phone, refusal, settled, text, until } from './conversationsworld.ts'
import { random } from './listening.ts'

/** Notes how many messages each step has. */
function notingSteps(world: ConversationsWorld): number[] {
  const steps: number[] = []
  world.failing = (step) => {
    if (messagesIn(step) > 0) steps.push(messagesIn(step))
    return false
  }
  return steps
}

for (const kind of ['memory', 'sqlite'])
  describe(`sends that come in one go, on ${kind},`, () => {
    test('are one step, and stand and arrive in their order', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['alice', 'bob'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await bob.connect()
      await alice.say(conversation, 'warm')
      const steps = notingSteps(world)
      const texts = Array.from({ length: 50 }, (_, i) => `message ${i}`)
      const accepted = await Promise.all(alice.askTogether(texts.map((each) => alice.message(conversation, each))))
      assert.deepEqual(steps, [50])
      assert.deepEqual(
        accepted.map(({ sequence }) => sequence),
        Array.from({ length: 50 }, (_, i) => i + 3),
      )
      const positions = accepted.map(({ position }) => position)
      assert.deepEqual(
        positions,
        positions.toSorted((one, other) => one - other),
      )
      await until(() => bob.line.texts.length === 51)
      assert.deepEqual(bob.line.texts.slice(1), texts)
      assert.deepEqual(
        bob.line.heard.slice(-50).map(({ position }) => position),
        positions,
      )
      assert.deepEqual(
        bob.line.heard.slice(-50).map(({ sequence }) => sequence),
        accepted.map(({ sequence }) => sequence),
      )
      await world.restart([alice, bob])
      await bob.connect()
      await until(() => bob.line.texts.length === 51)
      assert.deepEqual(bob.line.texts.slice(1), texts, 'they are stored as they arrived')
    })

    test('go to each conversation in their order, whichever was meant in between', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['alice', 'bob'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const [one, other] = [await world.group(alice, bob), await world.group(alice, bob)]
      await bob.connect()
      for (const each of [one, other]) await alice.say(each, 'warm')
      const steps = notingSteps(world)
      const targets = [one, one, other, one, other, other]
      const accepted = await Promise.all(alice.askTogether(targets.map((each, i) => alice.message(each, `${i}`))))
      assert.deepEqual(
        accepted.map(({ sequence }) => sequence),
        [3, 4, 3, 5, 4, 5],
      )
      assert.deepEqual(steps, [2, 1, 1, 2])
      await until(() => bob.line.texts.length === 8)
      assert.deepEqual(bob.line.texts.slice(2), ['0', '1', '2', '3', '4', '5'])
    })

    test('C03 N06: are accepted once where one repeats another, and refused where it only has its number or its id', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['alice', 'bob'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'warm')
      const [first, second] = [alice.message(conversation, 'first'), alice.message(conversation, 'second')]
      const asked = alice.askTogether([
        first,
        second,
        first,
        { ...second, sealed: text('else') },
        { ...alice.message(conversation, 'third'), id: second.id },
        alice.message(conversation, 'fourth'),
      ])
      const outcomes = await Promise.allSettled(asked)
      assert.deepEqual(
        outcomes.map((each) => (each.status === 'fulfilled' ? each.value.sequence : each.reason.reason)),
        [3, 4, 3, 'id-reused', 'id-reused', 5],
      )
    })

    for (const [same, change] of [
      ['id', (first: Send, next: Send): Send => ({ ...next, id: first.id })],
      ['number', (first: Send, next: Send): Send => ({ ...next, number: first.number })],
    ] as const)
      test(`C03: are refused where one has the ${same} of the one right in front of it`, async () => {
        await using world = await ConversationsWorld.start(kind)
        const [alice, bob] = ['alice', 'bob'].flatMap((name) => world.person(name)) as [Phone, Phone]
        const conversation = await world.group(alice, bob)
        await alice.say(conversation, 'warm')
        const [first, next] = [alice.message(conversation, 'first'), alice.message(conversation, 'next')]
        const [one, other] = alice.askTogether([first, change(first, next)])
        await assert.rejects(other as Promise<unknown>, refusal('id-reused'))
        assert.equal((await one)?.sequence, 3)
        assert.equal((await alice.ask('read-state', { conversation })).sequence, 3)
      })

    test('go through without the one among them that is refused', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['alice', 'bob'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'warm')
      const steps = notingSteps(world)
      const [one, bad, other] = alice.askTogether([
        alice.message(conversation, 'one'),
        alice.message(conversation, 'bad', { epoch: 9 }),
        alice.message(conversation, 'other'),
      ])
      await assert.rejects(bad as Promise<unknown>, refusal('stale-epoch'))
      assert.equal((await one)?.sequence, 3)
      assert.equal((await other)?.sequence, 4)
      assert.deepEqual(steps, [2])
    })

    test('I1: are all refused when their step fails, and none of them was there when they are repeated', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['alice', 'bob'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await bob.connect()
      await alice.say(conversation, 'warm')
      const stored = await world.open.conversations.storedBytes(alice.account)
      world.failing = (step) => messagesIn(step) > 0
      const messages = ['a', 'b', 'c'].map((each) => alice.message(conversation, each))
      const refused = await Promise.allSettled(alice.askTogether(messages))
      assert.deepEqual(
        refused.map(({ status }) => status),
        ['rejected', 'rejected', 'rejected'],
      )
      world.failing = () => false
      await settled()
      assert.equal(await world.open.conversations.storedBytes(alice.account), stored)
      const accepted = await Promise.all(alice.askTogether(messages))
      assert.deepEqual(
        accepted.map(({ sequence }) => sequence),
        [3, 4, 5],
      )
      await until(() => bob.line.texts.length === 4)
      assert.deepEqual(bob.line.texts, ['warm', 'a', 'b', 'c'])
    })

    test('C09: count in the quota one by one', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['alice', 'bob'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'warm')
      alice.account.quotaBytes = (await world.open.conversations.storedBytes(alice.account)) + 1500
      const asked = alice.askTogether([1, 2, 3, 4].map(() => alice.message(conversation, new Uint8Array(400))))
      const outcomes = await Promise.allSettled(asked)
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ['fulfilled', 'fulfilled', 'fulfilled', 'rejected'],
      )
      await assert.rejects(asked[3] as Promise<unknown>, refusal('mailbox-full'))
    })

    test('are parted where they are more than a step should hold, and one that is large goes alone', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob] = ['alice', 'bob'].flatMap((name) => world.person(name)) as [Phone, Phone]
      const conversation = await world.group(alice, bob)
      await alice.say(conversation, 'warm')
      const steps = notingSteps(world)
      const sizes = [10, 30_000, 30_000, 30_000, 10, 200_000, 10]
      const accepted = await Promise.all(
        alice.askTogether(sizes.map((size) => alice.message(conversation, new Uint8Array(size)))),
      )
      assert.deepEqual(
        accepted.map(({ sequence }) => sequence),
        [3, 4, 5, 6, 7, 8, 9],
      )
      assert.deepEqual(steps, [3, 2, 1, 1])
    })
  })

suite('the answers to a run of sends', () => {
  test('are what the codec makes of each', () => {
    const requests = [1, 2 ** 32 - 1, 77]
    const positions = [2 ** 32 - 1, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]
    const [sequence, at] = [2 ** 33, 1_800_000_000_123]
    const expected = requests.map((request, i) =>
      encodeFrame({ code: answers.done, request }, operations.send.response, {
        sequence: sequence + i,
        position: positions[i] as number,
        at,
      }),
    )
    assert.deepEqual(Buffer.from(acceptedFrames(requests, sequence, { positions, at })), Buffer.concat(expected))
  })
})

suite('letters of a run', () => {
  const conversation = random(32) as ConversationId
  const [device, sequence, at] = [7, 2 ** 33, 1_800_000_000_123]
  const place = { box: archiveLimits.firstBox, device, conversation: 3, sequence }
  const sends = [0, 1, 300].map(
    (sealedBytes, i): Send => ({
      conversation,
      generation: 2 ** 32 - 1 - i,
      id: random(16) as SendId,
      number: 2 ** 40 + i,
      epoch: 2 ** 34 + i,
      sealed: random(sealedBytes),
    }),
  )
  const made = () => {
    const run = new SentRun(place, contentBytesOf(0))
    const letters = new LetterRun(run, conversation)
    for (const send of sends) letters.add(new SendInPlace(encode(Send, send)), at)
    return { run, letters }
  }

  test('are stored as single ones are, with the digest that tells a repetition', () => {
    const { run } = made()
    for (const [i, send] of sends.entries()) {
      const inPlace = new SendInPlace(encode(Send, send))
      const single = Letter.ofSend(inPlace, conversation, device)
      single.accept(sequence + i, at)
      const { id, content, sent } = run.message(i)
      assert.deepEqual(Buffer.from(content), Buffer.from(single.content))
      assert.equal(run.crcOf(i), crc32(content))
      assert.deepEqual(Buffer.from(sent.digest), Buffer.from(digestOf(inPlace, device)))
      assert.deepEqual(Buffer.from(id), Buffer.from(send.id))
      assert.equal(sent.number, send.number)
    }
  })

  test('go out as the codec makes them, all together and one by one', () => {
    const { letters } = made()
    const positions = [5, 2 ** 32 - 1, 2 ** 32 + 1]
    const expected = sends.map(({ generation, sealed }, i) =>
      encodeFrame({ code: events.deliver.code, request: 0 }, events.deliver.body, {
        position: positions[i] as number,
        conversation,
        generation,
        sequence: sequence + i,
        at,
        kind: 'application',
        sealed,
      }),
    )
    const together = letters.together(positions)
    assert.deepEqual(Buffer.from(together.frame), Buffer.concat(expected))
    assert.deepEqual([together.count, together.sealedBytes], [3, 301])
    for (const [i, frame] of expected.entries())
      assert.deepEqual(Buffer.from(letters.letter(i, positions[i] as number).frame), Buffer.from(frame))
  })
})

suite('requests without an answer', () => {
  test('are known until they are settled, in whatever order', () => {
    const outstanding = new Outstanding()
    for (let i = 1; i <= 20; i++) outstanding.add(i * 3, i)
    assert.equal(outstanding.size, 20)
    assert(outstanding.has(60) && !outstanding.has(61))
    const order = Array.from({ length: 20 }, (_, i) => 1 + ((i * 7) % 20))
    for (const [i, each] of order.entries()) {
      assert.equal(outstanding.settle(each * 3), each)
      assert.equal(outstanding.settle(each * 3), 0, 'once')
      assert.equal(outstanding.size, 19 - i)
      for (const other of order.slice(i + 1)) assert(outstanding.has(other * 3))
    }
  })
})

suite('a send where it lies in its frame', () => {
  const send = {
    conversation: random(32) as ConversationId,
    generation: 2 ** 32 - 1,
    id: random(16) as SendId,
    number: Number.MAX_SAFE_INTEGER,
    epoch: 2 ** 33 + 5,
    sealed: random(300),
  }

  test('is read as the codec reads it', () => {
    for (const each of [send, { ...send, sealed: new Uint8Array() }, { ...send, generation: 1, number: 0, epoch: 0 }]) {
      const { conversation, generation, id, number, epoch, sealed, sealedBytes } = new SendInPlace(encode(Send, each))
      assert.deepEqual({ conversation, generation, id, number, epoch, sealed }, each)
      assert.equal(sealedBytes, each.sealed.length)
    }
  })

  test('W05 is malformed where the codec says so', () => {
    const body = encode(Send, send)
    const bad = [
      ...Array.from({ length: body.length }, (_, length) => body.subarray(0, length)),
      Uint8Array.of(...body, 0),
      withByte(body, 52 + 7, 1), // a number of 2^56
      withByte(body, 60 + 6, 0x20), // an epoch of 2^53
      withByte(body, 68 + 3, 1), // a length beyond the largest
      Buffer.alloc(72 + limits.sealedBytesMax + 1),
    ]
    for (const each of bad) {
      assert.throws(() => decode(Send, each), { reason: 'malformed' })
      assert.throws(() => new SendInPlace(each), { reason: 'malformed' })
    }
  })

  test('tells its conversation from any other', () => {
    const inPlace = new SendInPlace(encode(Send, send))
    assert(inPlace.isTo(send.conversation))
    for (let i = 0; i < 32; i++)
      assert(!inPlace.isTo(withByte(send.conversation, i, (send.conversation[i] as number) ^ 1) as ConversationId))
  })
})

function withByte(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const changed = Uint8Array.from(bytes)
  changed[at] = value
  return changed
}

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ConversationId, limits, RefusedError } from '@messageu/protocol/v3'
import { archiveLimits } from '../../src/archive.ts'
import { messagesIn } from '../../src/storage/stepsize.ts'
import {
  ConversationsWorld,
  newConversationId,
  newSendId,
  type Phone,
  refusal,
  settled,
  text,
  until,
} from './conversationsworld.ts'

interface Pair extends AsyncDisposable {
  readonly world: ConversationsWorld
  readonly alice: Phone
  readonly bob: Phone
  readonly conversation: ConversationId
}

/** Two people in a conversation, of two or of a group. */
async function pair(kind: string, how: 'direct' | 'group' = 'group'): Promise<Pair> {
  const world = await ConversationsWorld.start(kind)
  const [alice, bob] = [...world.person('alice'), ...world.person('bob')] as [Phone, Phone]
  const conversation = newConversationId()
  if (how === 'group') await alice.ask('create', { conversation })
  else await alice.ask('open', { conversation, target: { kind: 'direct', body: bob.account.id } })
  await alice.commit(conversation, [alice, bob])
  return { world, alice, bob, conversation, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() }
}

for (const kind of ['memory', 'sqlite'])
  describe(`sending on ${kind}`, () => {
    test('each message has the next sequence, after a restart as well', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      const sequences: number[] = []
      for (let round = 0; round < 3; round++) {
        const accepted = await Promise.all([1, 2, 3].map((i) => (i === 2 ? bob : alice).say(conversation, `${i}`)))
        sequences.push(...accepted.map(({ sequence }) => sequence).sort((one, other) => one - other))
        await world.restart()
        await alice.ask('read-state', { conversation })
      }
      assert.deepEqual(sequences, [2, 3, 4, 5, 6, 7, 8, 9, 10])
    })

    test('no sequence is given twice after everything was trimmed and the server came back', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      for (let i = 0; i < 3; i++) await alice.say(conversation, `${i}`)
      for (const phone of [alice, bob]) {
        await phone.connect()
        await until(() => phone.line.heard.some(({ kind, sequence }) => kind !== 'welcome' && sequence >= 1))
        await until(() => world.open.deliveries.isLive(phone.device.number))
        await phone.acknowledge()
      }
      await world.trim()
      assert.equal(world.stored(conversation), 0)
      await world.restart([alice, bob])
      assert.equal((await alice.ask('read-state', { conversation })).sequence, 4)
      assert.equal((await alice.say(conversation, 'x', { epoch: 1 })).sequence, 5)
    })

    test('a full disk trims all but the message that tells the sequence', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      for (let i = 0; i < 3; i++) await alice.say(conversation, `${i}`)
      for (const phone of [alice, bob]) {
        await phone.connect()
        await until(() => world.open.deliveries.isLive(phone.device.number))
        await phone.acknowledge()
      }
      world.failing = ({ objects = [] }) => objects.length > 0
      await world.trim()
      await settled()
      await world.trim()
      assert.equal(world.stored(conversation), 1)
      world.failing = () => false
      await world.restart([alice, bob])
      assert.equal((await alice.ask('read-state', { conversation })).sequence, 4)
    })

    test('a message and a commit have one time: in the answer, in the next one, and where they are delivered', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      await bob.connect()
      world.tickMs = 1
      const message = alice.message(conversation, 'when?')
      const sent = await alice.ask('send', message)
      const committed = await alice.commit(conversation, [alice, bob])
      const told = [sent, committed].map(({ at }) => at)
      await until(() => bob.line.heard.some(({ sequence }) => sequence === committed.sequence))
      const heard = bob.line.heard.filter(({ sequence }) => sequence >= sent.sequence)
      assert.deepEqual(
        heard.map(({ at }) => at),
        told,
      )
      assert.deepEqual(await alice.ask('send', message), sent)
      await world.restart([bob])
      assert.deepEqual(await alice.ask('send', message), sent)
    })

    test('N06: a send that is repeated is answered as before, at once, later and after a restart', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      await bob.connect()
      const message = alice.message(conversation, 'once')
      const [first, again] = await Promise.all([alice.ask('send', message), alice.ask('send', message)])
      assert.deepEqual(again, first)
      assert.deepEqual(await alice.ask('send', message), first)
      for (let i = 0; i < archiveLimits.recentSends + 10; i++) await alice.say(conversation, `${i}`)
      assert.deepEqual(await alice.ask('send', message), first, 'older than what is in memory')
      await world.restart([alice, bob])
      assert.deepEqual(await alice.ask('send', message), first)
      await bob.connect()
      await until(() => world.open.deliveries.isLive(bob.device.number))
      assert.equal(bob.line.texts.filter((each) => each === 'once').length, 1)
    })

    test('N06: what was accepted is answered as before to who may send no more', async () => {
      await using pairing = await pair(kind)
      const { alice, bob, conversation } = pairing
      const message = bob.message(conversation, 'bye')
      const first = await bob.ask('send', message)
      await alice.commit(conversation, [alice])
      assert.deepEqual(await bob.ask('send', message), first)
      await assert.rejects(bob.say(conversation, 'more'), refusal('not-permitted'))
    })

    test('C03: a number or an id that was used for something else is refused', async () => {
      await using pairing = await pair(kind)
      const { world, alice, conversation } = pairing
      const message = alice.message(conversation, 'once')
      await alice.ask('send', message)
      const other = await world.group(alice)
      const changed = [
        { ...message, sealed: text('else') },
        { ...message, epoch: 0 },
        { ...message, generation: 2 },
        { ...message, conversation: other },
        { ...message, id: newSendId() },
        { ...message, number: ++alice.number },
      ]
      for (const each of changed) await assert.rejects(alice.ask('send', each), refusal('id-reused'))
      const [one, two] = [alice.message(conversation, 'a'), alice.message(conversation, 'b')]
      const outcomes = await Promise.allSettled([
        alice.ask('send', one),
        alice.ask('send', { ...two, number: one.number }),
        alice.ask('send', { ...two, id: one.id }),
      ])
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ['fulfilled', 'rejected', 'rejected'],
      )
    })

    test('numbers belong to a device: another one may use the same', async () => {
      await using pairing = await pair(kind)
      const { alice, bob, conversation } = pairing
      const id = newSendId()
      const one = await alice.say(conversation, 'a', { id, number: 50 })
      const other = await bob.say(conversation, 'a', { id, number: 50 })
      assert.notEqual(one.sequence, other.sequence)
    })

    test('a refusal is not remembered: the same number and id go through later, out of order', async () => {
      await using pairing = await pair(kind)
      const { alice, conversation } = pairing
      const message = alice.message(conversation, 'late', { epoch: 7 })
      await assert.rejects(alice.ask('send', message), refusal('stale-epoch'))
      await alice.say(conversation, 'next')
      assert.equal((await alice.ask('send', { ...message, epoch: 1 })).sequence, 3)
    })

    test('N06: a send whose first step failed goes through when it is repeated', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      await bob.connect()
      const message = alice.message(conversation, 'x')
      let left = 1
      world.failing = (step) => messagesIn(step) > 0 && left-- > 0
      const [one, other] = await Promise.allSettled([alice.ask('send', message), alice.ask('send', message)])
      assert.equal(one.status, 'rejected')
      assert.equal(other.status, 'rejected')
      await settled()
      assert.equal((await alice.ask('send', message)).sequence, 2)
      await until(() => bob.line.texts.length === 1)
    })

    test('a message may be sealed three epochs ago, but not before somebody was taken off', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      const carol = world.person('carol')[0] as Phone
      for (let epoch = 1; epoch < 5; epoch++) await alice.commit(conversation, [alice, bob])
      for (const epoch of [2, 3, 4, 5]) await bob.say(conversation, 'x', { epoch })
      for (const epoch of [0, 1, 6]) await assert.rejects(bob.say(conversation, 'x', { epoch }), refusal('stale-epoch'))
      await alice.commit(conversation, [alice, bob, carol])
      await alice.commit(conversation, [alice, bob])
      await assert.rejects(bob.say(conversation, 'x', { epoch: 6 }), (error) => {
        assert(error instanceof RefusedError && error.reason === 'stale-epoch')
        assert.deepEqual(error.current, { kind: 'epoch', body: { generation: 1, epoch: 7, sequence: 11 } })
        return true
      })
      await bob.say(conversation, 'x', { epoch: 7 })
    })

    test('C04: who is not on the roster sends nothing, nor does a device that was delisted', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      const tablet = world.addDevice(bob.account)
      const eve = world.person('eve')[0] as Phone
      for (const phone of [tablet, eve]) await assert.rejects(phone.say(conversation, 'x'), refusal('not-permitted'))
      world.delist(bob)
      await assert.rejects(bob.say(conversation, 'x'), refusal('not-permitted'))
      await assert.rejects(bob.commit(conversation, [alice, bob]), refusal('not-permitted'))
      assert.equal((await alice.ask('read-state', { conversation })).roster.length, 2)
    })

    test('C09: a stranger is charged for what it sends, and refused above that; who is known is not', async () => {
      await using pairing = await pair(kind, 'direct')
      const { world, alice, bob, conversation } = pairing
      world.regards(bob.account, alice.account, 'stranger')
      await alice.say(conversation, 'hello')
      assert.deepEqual(
        world.charges.map(({ from, to, bytes }) => [from.name, to.name, bytes]),
        [['alice', 'bob', 5]],
      )
      world.isChargeRefused = true
      await assert.rejects(alice.say(conversation, 'more'), refusal('limited'))
      await assert.rejects(alice.commit(conversation, [alice, bob]), refusal('limited'))
      world.isChargeRefused = false
      world.regards(alice.account, bob.account, 'stranger')
      await bob.say(conversation, 'hello')
      assert.equal(world.regardOf(alice.account, bob.account), 'stranger', 'being written to is not writing')
      assert.equal(world.regardOf(bob.account, alice.account), 'accepted', 'who answers has accepted')
      world.regards(alice.account, bob.account, 'accepted')
      const charged = world.charges.length
      await alice.say(conversation, 'more')
      assert.equal(world.charges.length, charged)
    })

    test('C09: what is repeated is not charged again', async () => {
      await using pairing = await pair(kind, 'direct')
      const { world, alice, bob, conversation } = pairing
      world.regards(bob.account, alice.account, 'stranger')
      const message = alice.message(conversation, 'hello')
      await alice.ask('send', message)
      await alice.ask('send', message)
      assert.equal(world.charges.length, 1)
    })

    test('N06: what a stranger repeats while it is being charged is accepted once', async () => {
      await using pairing = await pair(kind, 'direct')
      const { world, alice, bob, conversation } = pairing
      world.regards(bob.account, alice.account, 'stranger')
      const message = alice.message(conversation, 'hello')
      const answers = await Promise.all([1, 2, 3].map(() => alice.ask('send', message)))
      assert.deepEqual(answers[1], answers[0])
      assert.deepEqual(answers[2], answers[0])
      assert.equal((await alice.ask('read-state', { conversation })).sequence, 2)
    })

    test('N06: an old number that is used late, and twice at once, is accepted once', async () => {
      await using pairing = await pair(kind)
      const { alice, conversation } = pairing
      await alice.say(conversation, 'far ahead', { number: 5000 })
      const message = alice.message(conversation, 'late', { number: 100 })
      const answers = await Promise.all([1, 2, 3].map(() => alice.ask('send', message)))
      assert.deepEqual(answers[1], answers[0])
      assert.deepEqual(answers[2], answers[0])
      assert.equal((await alice.ask('read-state', { conversation })).sequence, 3)
    })

    test('who is blocked sends nothing in a direct conversation, and still does in a group', async () => {
      await using direct = await pair(kind, 'direct')
      direct.world.regards(direct.bob.account, direct.alice.account, 'blocked')
      await assert.rejects(direct.alice.say(direct.conversation, 'x'), refusal('not-permitted'))
      await assert.rejects(
        direct.alice.commit(direct.conversation, [direct.alice, direct.bob]),
        refusal('not-permitted'),
      )
      await using group = await pair(kind)
      group.world.regards(group.bob.account, group.alice.account, 'blocked')
      await group.alice.say(group.conversation, 'x')
    })

    test('C09: in a group of a stranger everybody is charged who is not accepted, until the creator is', async () => {
      await using world = await ConversationsWorld.start(kind)
      const [alice, bob, carol] = ['alice', 'bob', 'carol'].flatMap((name) => world.person(name)) as [
        Phone,
        Phone,
        Phone,
      ]
      world.regards(carol.account, alice.account, 'stranger')
      world.regards(carol.account, bob.account, 'stranger')
      const conversation = await world.group(alice, bob, carol)
      await alice.say(conversation, 'a')
      await bob.say(conversation, 'b')
      await carol.say(conversation, 'c')
      assert.deepEqual(
        world.charges.map(({ from, to }) => [from.name, to.name]),
        [
          ['alice', 'carol'],
          ['bob', 'carol'],
        ],
      )
      world.regards(carol.account, alice.account, 'accepted')
      await bob.say(conversation, 'b')
      assert.equal(world.charges.length, 2)
      world.regards(bob.account, carol.account, 'stranger')
      await carol.say(conversation, 'c')
      assert.equal(world.charges.length, 2, 'bob knows who created the group')
    })

    test('C09: a quota bounds what waits in the conversations that an account created, and reading makes room', async () => {
      await using pairing = await pair(kind)
      const { world, alice, bob, conversation } = pairing
      const stored = (): Promise<number> => world.open.conversations.storedBytes(alice.account)
      assert.equal(await world.open.conversations.storedBytes(bob.account), 0)
      const before = await stored()
      alice.account.quotaBytes = before + 1000
      await alice.say(conversation, new Uint8Array(400))
      assert((await stored()) > before + 400)
      await bob.say(conversation, new Uint8Array(400))
      await assert.rejects(alice.say(conversation, new Uint8Array(400)), refusal('mailbox-full'))
      await assert.rejects(bob.say(conversation, new Uint8Array(400)), refusal('mailbox-full'))
      const own = await world.group(bob)
      await bob.say(own, new Uint8Array(4000))
      await alice.commit(conversation, [alice, bob])
      for (const restarted of [false, true]) {
        if (restarted) await world.restart([alice, bob])
        assert((await stored()) > before + 800)
      }
      for (const phone of [alice, bob]) {
        await phone.connect()
        await until(() => world.open.deliveries.isLive(phone.device.number))
        await phone.acknowledge()
      }
      await world.trim()
      await alice.say(conversation, new Uint8Array(400), { epoch: 2 })
    })

    test('C09: what is under way counts in the quota as well', async () => {
      await using pairing = await pair(kind)
      const { world, alice, conversation } = pairing
      await alice.say(conversation, 'warm')
      alice.account.quotaBytes = (await world.open.conversations.storedBytes(alice.account)) + 5000
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, () => alice.say(conversation, new Uint8Array(1000))),
      )
      const accepted = outcomes.filter(({ status }) => status === 'fulfilled').length
      assert.equal(accepted, 4)
    })

    test('the largest message goes through', async () => {
      await using pairing = await pair(kind)
      const { alice, bob, conversation } = pairing
      await bob.connect()
      await alice.say(conversation, new Uint8Array(limits.sealedBytesMax).fill(7))
      await until(() => bob.line.heard.length === 3)
      assert.equal(bob.line.heard.at(-1)?.sealed.length, limits.sealedBytesMax)
      assert(bob.line.heard.at(-1)?.sealed.every((byte) => byte === 7))
    })
  })

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type ContactRequest, limits } from '@messageu/protocol/v3'
import { unsavedMax } from '../../src/v3/contacts.ts'
import { judge } from '../../src/v3/operations/judge.ts'
import { requests } from '../../src/v3/operations/requests.ts'
import type { Account } from '../../src/v3/services.ts'
import { type DirectoryWorld, kinds, nameOf, outcomes, reasonOf, sessionOf, startDirectory } from './directoryworld.ts'
import { newConversationId } from './person.ts'

const verdicts = ['accept', 'refuse', 'block', 'unblock'] as const

async function pair(world: DirectoryWorld) {
  const [alice, bob] = [await world.register('alice'), await world.register('bob')]
  return { alice: alice.account, bob: bob.account }
}

function requestOf(from: Account, at = 1_000): ContactRequest {
  return { account: from.id, name: from.name, conversation: newConversationId(), at }
}

/** How many messages are counted until the limit. */
async function charges(world: DirectoryWorld, from: Account, to: Account, bytes = 100): Promise<number> {
  for (let count = 0; ; count++) {
    const reason = await reasonOf(world.contacts.chargeStranger(from, to, bytes))
    if (reason === 'limited') return count
    assert.equal(reason, 'not refused')
  }
}

for (const kind of kinds)
  suite(`contacts on ${kind}`, () => {
    test('begin as strangers; everybody is their own contact', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      assert.equal(await world.contacts.standing(bob, alice), 'stranger')
      assert.equal(await world.contacts.standing(alice, alice), 'accepted')
      assert.equal(await reasonOf(world.contacts.judge(alice, alice, 'block')), 'not-permitted')
    })

    test('a verdict holds in one direction, and over a restart', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      const standings = { accept: 'accepted', refuse: 'blocked', block: 'blocked', unblock: 'stranger' } as const
      for (const verdict of verdicts) {
        await world.contacts.judge(alice, bob, verdict)
        for (const restart of [false, true]) {
          if (restart) await world.restart()
          assert.equal(await world.contacts.standing(bob, alice), standings[verdict], verdict)
          assert.equal(await world.contacts.standing(alice, bob), 'stranger')
        }
      }
    })

    test('a verdict holds from the moment in which it is durable, whoever was just looking', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      const slow = world.archive.holdNextGet()
      const looking = world.contacts.standing(bob, alice)
      await world.contacts.judge(alice, bob, 'block')
      slow[Symbol.dispose]()
      assert.deepEqual([await looking, await world.contacts.standing(bob, alice)], ['blocked', 'blocked'])
    })

    test('every verdict follows on every other, and repeating one changes nothing', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      for (const first of verdicts)
        for (const second of verdicts) {
          await world.contacts.judge(alice, bob, first)
          await world.contacts.judge(alice, bob, second)
          const standing = await world.contacts.standing(bob, alice)
          const kept = second === 'unblock' && first === 'accept' ? 'accept' : second
          const expected = { accept: 'accepted', refuse: 'blocked', block: 'blocked', unblock: 'stranger' } as const
          assert.equal(standing, expected[kept], `${first}, ${second}`)
          const { steps } = world.archive
          await world.contacts.judge(alice, bob, second)
          assert.equal(world.archive.steps, steps)
        }
    })

    test('who begins a conversation accepts the other, and waits until they do', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      const request = requestOf(bob)
      await world.contacts.noteRequest(bob, alice, request)
      for (const restart of [false, true]) {
        if (restart) await world.restart()
        assert.equal(await world.contacts.standing(alice, bob), 'accepted')
        assert.equal(await world.contacts.standing(bob, alice), 'stranger')
        assert.deepEqual(await world.contacts.requests(alice), [request])
        assert.deepEqual(await world.contacts.requests(bob), [])
      }
      const { steps } = world.archive
      await world.contacts.noteRequest(bob, alice, requestOf(bob, 2_000))
      assert.equal(world.archive.steps, steps)
      assert.deepEqual(await world.contacts.requests(alice), [request])
    })

    test('every verdict ends the waiting, except that there was nothing to unblock', async () => {
      await using world = await startDirectory(kind)
      const { alice } = await pair(world)
      for (const [i, verdict] of verdicts.entries()) {
        const { account: other } = await world.register(nameOf(i))
        await world.contacts.noteRequest(other, alice, requestOf(other))
        await world.contacts.judge(alice, other, verdict)
      }
      await world.restart()
      const waiting = await world.contacts.requests(alice)
      assert.deepEqual(
        waiting.map(({ name }) => name),
        [nameOf(3)],
      )
    })

    test('to begin a conversation with somebody accepts them, also where they were refused, but not blocked', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      await world.contacts.noteRequest(bob, alice, requestOf(bob))
      await world.contacts.judge(alice, bob, 'refuse')
      await world.contacts.noteRequest(alice, bob, requestOf(alice))
      assert.equal(await world.contacts.standing(bob, alice), 'accepted')
      await world.contacts.judge(alice, bob, 'block')
      await world.contacts.noteRequest(alice, bob, requestOf(alice))
      assert.equal(await world.contacts.standing(bob, alice), 'blocked')
    })

    test('who asks each other accepts each other', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      await Promise.all([
        world.contacts.noteRequest(alice, bob, requestOf(alice)),
        world.contacts.noteRequest(bob, alice, requestOf(bob)),
      ])
      assert.equal(await world.contacts.standing(bob, alice), 'accepted')
      assert.equal(await world.contacts.standing(alice, bob), 'accepted')
      assert.deepEqual(await world.contacts.requests(alice), [])
      assert.deepEqual(await world.contacts.requests(bob), [])
    })

    test('who was refused or blocked asks in vain, and sends in vain', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      for (const verdict of ['refuse', 'block'] as const) {
        await world.contacts.judge(alice, bob, verdict)
        for (const restart of [false, true]) {
          if (restart) await world.restart()
          assert.equal(await reasonOf(world.contacts.noteRequest(bob, alice, requestOf(bob))), 'not-permitted')
          assert.equal(await reasonOf(world.contacts.chargeStranger(bob, alice, 1)), 'not-permitted')
          assert.deepEqual(await world.contacts.requests(alice), [])
        }
      }
    })

    test('requests are shown the oldest first, a hundred at a time', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      const others = await Promise.all(Array.from({ length: 110 }, (_, i) => world.register(nameOf(i))))
      const inOrder = [...others.map(({ account }) => account), bob].toReversed()
      for (const account of inOrder) await world.contacts.noteRequest(account, alice, requestOf(account))
      const first = await world.contacts.requests(alice)
      assert.deepEqual(
        first.map(({ name }) => name),
        inOrder.slice(0, limits.pageMax).map(({ name }) => name),
      )
      for (const account of inOrder.slice(0, 50)) await world.contacts.judge(alice, account, 'accept')
      const second = await world.contacts.requests(alice)
      assert.deepEqual(
        second.map(({ name }) => name),
        inOrder.slice(50).map(({ name }) => name),
      )
    })
  })

for (const kind of kinds)
  suite(`what strangers send on ${kind}`, () => {
    test('is at most 64 messages, or a mebibyte', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      assert.equal(await charges(world, bob, alice), limits.strangerMessagesMax)
      const { account: carol } = await world.register('carol')
      assert.equal(await charges(world, carol, alice, limits.strangerBytesMax / 4), 4)
      const { account: dave } = await world.register('dave')
      assert.equal(await charges(world, dave, alice, limits.strangerBytesMax + 1), 0)
      await world.contacts.chargeStranger(dave, alice, limits.strangerBytesMax)
    })

    test('is counted for each towards each', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      const { account: carol } = await world.register('carol')
      assert.equal(await charges(world, bob, alice), limits.strangerMessagesMax)
      assert.equal(await charges(world, bob, carol), limits.strangerMessagesMax)
      assert.equal(await charges(world, alice, bob), limits.strangerMessagesMax)
    })

    test('is at most as much when all of it comes at once', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      const attempts = Array.from({ length: 200 }, () => world.contacts.chargeStranger(bob, alice, 10))
      assert.deepEqual(await outcomes(attempts), { 'not refused': limits.strangerMessagesMax, limited: 136 })
    })

    test('is free from acceptance on, and counts anew when that is taken back', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      assert.equal(await charges(world, bob, alice), limits.strangerMessagesMax)
      await world.contacts.judge(alice, bob, 'accept')
      for (let i = 0; i < 2 * limits.strangerMessagesMax; i++) await world.contacts.chargeStranger(bob, alice, 2 ** 20)
      await world.contacts.chargeStranger(alice, alice, 2 ** 30)
      await world.contacts.judge(alice, bob, 'block')
      await world.contacts.judge(alice, bob, 'unblock')
      assert.equal(await charges(world, bob, alice), limits.strangerMessagesMax)
    })

    test('is counted while it is accepted, without a trace', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      for (let i = 0; i < 3; i++) await world.contacts.chargeStranger(bob, alice, 10)
      const sending = Array.from({ length: 30 }, () => world.contacts.chargeStranger(bob, alice, 10))
      await Promise.all([...sending, world.contacts.judge(alice, bob, 'accept')])
      await world.contacts.judge(alice, bob, 'block')
      await world.contacts.judge(alice, bob, 'unblock')
      assert.equal(await charges(world, bob, alice), limits.strangerMessagesMax)
    })

    test('is stored now and then: a restart gives back less than that', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      const { steps } = world.archive
      let sent = 0
      for (; sent < 45; sent++) await world.contacts.chargeStranger(bob, alice, 10)
      assert.ok(world.archive.steps - steps <= 1 + 45 / unsavedMax.messages)
      await world.restart()
      sent += await charges(world, bob, alice)
      assert.ok(
        sent >= limits.strangerMessagesMax && sent < limits.strangerMessagesMax + unsavedMax.messages,
        `${sent}`,
      )
    })

    test('is stored earlier when it is large', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      const bytes = unsavedMax.bytes - 1
      for (let i = 0; i < 3; i++) await world.contacts.chargeStranger(bob, alice, bytes)
      await world.restart()
      const left = limits.strangerBytesMax - 3 * bytes
      assert.equal(await reasonOf(world.contacts.chargeStranger(bob, alice, left + unsavedMax.bytes)), 'limited')
    })

    test('does not count when the count cannot be stored', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      world.archive.failNext()
      assert.equal(await reasonOf(world.contacts.chargeStranger(bob, alice, 10)), 'storage-full')
      for (let i = 1; i < unsavedMax.messages + 1; i++) await world.contacts.chargeStranger(bob, alice, 10)
      world.archive.failNext()
      assert.equal(await reasonOf(world.contacts.chargeStranger(bob, alice, 10)), 'storage-full')
      assert.equal(await charges(world, bob, alice), limits.strangerMessagesMax - unsavedMax.messages)
    })

    test('a verdict whose step fails is none', async () => {
      await using world = await startDirectory(kind)
      const { alice, bob } = await pair(world)
      await world.contacts.noteRequest(bob, alice, requestOf(bob))
      world.archive.failNext()
      assert.equal(await reasonOf(world.contacts.judge(alice, bob, 'block')), 'storage-full')
      assert.equal(await world.contacts.standing(bob, alice), 'stranger')
      assert.equal((await world.contacts.requests(alice)).length, 1)
    })
  })

suite('contacts of one account', () => {
  test('are bounded: those who wait, are refused or blocked together, and those who are accepted', async () => {
    await using world = await startDirectory('memory')
    const { alice } = await pair(world)
    const other = (i: number): Account => ({ ...alice, number: 1_000 + i })
    const { contactsPerAccountMax: max } = limits
    for (let i = 0; i < max; i++) {
      if (i % 3 === 0) await world.contacts.noteRequest(other(i), alice, requestOf(other(i)))
      else await world.contacts.judge(alice, other(i), i % 3 === 1 ? 'block' : 'refuse')
    }
    await world.restart()
    const late = other(max)
    assert.equal(await reasonOf(world.contacts.noteRequest(late, alice, requestOf(late))), 'limited')
    assert.equal(await world.contacts.standing(alice, late), 'stranger') // of a request that is refused nothing stays
    assert.equal(await reasonOf(world.contacts.judge(alice, late, 'block')), 'limited')
    assert.equal(await reasonOf(world.contacts.chargeStranger(late, alice, 1)), 'limited')
    await world.contacts.judge(alice, other(0), 'block') // who waits is counted already
    await world.contacts.judge(alice, other(1), 'unblock')
    await world.contacts.noteRequest(late, alice, requestOf(late))
    for (let i = 0; i < max; i++) await world.contacts.judge(alice, other(2 * max + i), 'accept')
    assert.equal(await reasonOf(world.contacts.judge(alice, other(4 * max), 'accept')), 'limited')
  })
})

suite('the operations of contacts', () => {
  test('judge others and show who waits, for the account that asks', async () => {
    await using world = await startDirectory('memory')
    const [alice, bob] = [await world.register('alice'), await world.register('bob')]
    await world.contacts.noteRequest(bob.account, alice.account, requestOf(bob.account))
    const waiting = async () => requests(world.services(), sessionOf(alice.device), undefined)
    assert.deepEqual(
      (await waiting()).map(({ name }) => name),
      ['bob'],
    )
    assert.deepEqual(await requests(world.services(), sessionOf(bob.device), undefined), [])
    await judge(world.services(), sessionOf(alice.device), { account: bob.account.id, verdict: 'accept' })
    assert.deepEqual(await waiting(), [])
    assert.equal(await world.contacts.standing(bob.account, alice.account), 'accepted')
  })

  test('nobody judges an account that does not exist', async () => {
    await using world = await startDirectory('memory')
    const { device } = await world.register('alice')
    const request = { account: world.person('nobody').id, verdict: 'block' } as const
    const asked = async () => judge(world.services(), sessionOf(device), request)
    assert.equal(await reasonOf(asked()), 'not-permitted')
  })
})

import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { decode } from '@messageu/protocol'
import { accountName, type KeyPackage, limits, RefusedError, SendId } from '@messageu/protocol/v3'
import { ServerProcess, temporaryFolder } from '../serverProcess.ts'
import { newConversation, newIdentity, Peer, random, reasonOf } from './peer.ts'
import { Stage } from './stage.ts'
import { message, Rejected, Wire } from './wire.ts'

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

let stage: Stage
before(async () => {
  stage = await Stage.start()
})
after(() => stage[Symbol.asyncDispose]())

suite('many at once', () => {
  test('C13: of twenty who commit at once, over and over, one wins each time, and all see the same winners', async () => {
    const committers = await Promise.all(numbers(20).map(() => stage.person()))
    const [first, ...others] = committers
    assert(first !== undefined)
    await Promise.all(committers.map((peer) => peer.credit()))
    for (const other of others) {
      await first.ask('judge', { account: other.account, verdict: 'accept' })
      await other.ask('judge', { account: first.account, verdict: 'accept' })
    }
    const { conversation } = await first.ask('create', { conversation: newConversation() })
    const roster = committers.map(({ device }) => device)
    await first.ask('commit', first.newCommit(conversation, 0, roster))
    const rounds = 5
    const winners: Uint8Array[] = []
    for (const round of numbers(rounds)) {
      const commits = committers.map((peer) => peer.newCommit(conversation, 1 + round, roster))
      const outcomes = await Promise.all(
        committers.map((peer, i) => peer.ask('commit', commits[i] ?? assert.fail()).catch((error: unknown) => error)),
      )
      const losers = outcomes.filter((outcome) => outcome instanceof RefusedError)
      assert.equal(losers.length, 19, `round ${round}`)
      for (const { reason, current } of losers) {
        assert.equal(reason, 'stale-epoch')
        assert(current.kind === 'epoch' && current.body.epoch === 2 + round, 'and they are told what won')
      }
      const winner = outcomes.findIndex((outcome) => !(outcome instanceof RefusedError))
      winners.push(commits[winner]?.id ?? assert.fail())
    }
    const { epoch, sequence } = await first.ask('read-state', { conversation })
    assert.deepEqual([epoch, sequence], [1 + rounds, 1 + rounds])
    for (const peer of committers) {
      const seen = (): Uint8Array[] =>
        peer.deliveries.filter(({ kind }) => kind === 'commit').map(({ sealed }) => sealed)
      await peer.until(() => seen().length === 1 + rounds)
      for (const [i, id] of winners.entries()) assert(Buffer.from(seen()[i + 1] ?? []).includes(Buffer.from(id)))
    }
    for (const peer of committers) peer[Symbol.dispose]()
    await stage.unharmed()
  })

  test('C13: a commit two epochs ahead or behind, or for a generation that is not, changes nothing', async () => {
    using mallory = await stage.person()
    const conversation = await mallory.groupWith()
    const roster = [mallory.device]
    for (const epoch of [0, 2, 3, 2 ** 40]) {
      assert.equal(await mallory.outcomeOf('commit', mallory.newCommit(conversation, epoch, roster)), 'stale-epoch')
    }
    for (const generation of [0, 2, 2 ** 32 - 1]) {
      const commit = { ...mallory.newCommit(conversation, 1, roster), generation }
      assert.equal(await mallory.outcomeOf('commit', commit), 'stale-generation')
    }
    assert.equal((await mallory.ask('read-state', { conversation })).epoch, 1)
  })

  test('C15: who connects and leaves again and again, proved or not, leaves nothing behind', async () => {
    using mallory = await stage.person()
    await mallory.groupWith()
    for (const _ of numbers(20)) {
      const wires = await Promise.all(numbers(25).map(() => Wire.open({ port: stage.port })))
      for (const [i, wire] of wires.entries()) {
        if (i % 3 === 0) wire.socket.write(message(random(50)).subarray(0, 20))
        if (i % 2 === 0) wire.socket.resetAndDestroy()
        else wire.socket.end()
      }
      await Promise.all(wires.map(({ closed }) => closed))
      await mallory.reconnect()
    }
    await stage.unharmed()
  })
})

suite('too much from one', () => {
  test('C07, C12: who asks faster than the limit is told when to come back, and others are served meanwhile', async () => {
    await using temporary = await temporaryFolder('memory')
    const flags = ['--requests-per-second', '100']
    await using server = await ServerProcess.start({ folder: temporary.of('data'), flags })
    using flooder = await Peer.register(server.link, 'flooder')
    using quiet = await Peer.register(server.link, 'quiet')
    const more = await Promise.allSettled(
      numbers(limits.outstandingMax).map(() => flooder.ask('count-packages', undefined)),
    )
    const refused = more.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []))
    assert(refused.length > 0, 'some of it was too much')
    for (const error of refused) {
      assert(error instanceof RefusedError)
      assert.equal(error.reason, 'limited')
      assert(error.retryAfterMs > 0)
    }
    assert.equal(await quiet.outcomeOf('count-packages', undefined), 'done')
    const last = refused.at(-1)
    assert(last instanceof RefusedError)
    await sleep(last.retryAfterMs)
    assert.equal(await flooder.outcomeOf('count-packages', undefined), 'done', 'and it is as the server said')
  })

  test('C09: a stranger who floods somebody is stopped, and who is known still gets through', async () => {
    const { alice, bob, conversation } = stage
    using mallory = await stage.person()
    const opened = await mallory.ask('open', {
      conversation: newConversation(),
      target: { kind: 'direct', body: bob.account },
    })
    const roster = [mallory.device, bob.device]
    await mallory.ask('commit', mallory.newCommit(opened.conversation, 0, roster))
    const outcomes: string[] = []
    for (const _ of numbers(limits.strangerMessagesMax + 20))
      outcomes.push(await reasonOf(mallory.send(opened.conversation, random(10))))
    assert(outcomes.filter((outcome) => outcome === 'done').length <= limits.strangerMessagesMax)
    assert.equal(outcomes.at(-1), 'limited')
    const text = random(30)
    await alice.send(conversation, text)
    await bob.until(() => bob.heard(conversation).some((each) => Buffer.compare(each, text) === 0))
    await bob.ask('judge', { account: mallory.account, verdict: 'block' })
    assert.equal(await reasonOf(mallory.send(opened.conversation, random(10))), 'not-permitted')
    await stage.unharmed()
  })

  test('C11: who claims key packages again and again gets a few, and the last resort stays for others', async () => {
    using victim = await stage.person()
    using mallory = await stage.person()
    const notAfter = Date.now() + 86_400_000
    const packages: KeyPackage[] = numbers(10).map((i) => ({ isLastResort: i === 0, notAfter, keyPackage: random(50) }))
    await victim.ask('publish', packages)
    const claimed: string[] = []
    for (const _ of numbers(limits.strangerClaimsPerDay + 3))
      claimed.push(await mallory.outcomeOf('claim', victim.account))
    assert.deepEqual(
      claimed.slice(0, limits.strangerClaimsPerDay),
      numbers(limits.strangerClaimsPerDay).map(() => 'done'),
    )
    assert.deepEqual([...new Set(claimed.slice(limits.strangerClaimsPerDay))], ['limited'])
    assert.equal((await victim.ask('count-packages', undefined)).singleUse, 9 - limits.strangerClaimsPerDay)
    await victim.until(() => victim.notices.some(({ kind }) => kind === 'key-packages-low'))

    const handed: string[] = []
    for (const _ of numbers(3)) {
      using other = await stage.person()
      for (const { keyPackage, isLastResort } of [
        ...(await other.ask('claim', victim.account)),
        ...(await other.ask('claim', victim.account)),
      ])
        handed.push(isLastResort ? 'last resort' : Buffer.from(keyPackage).toString('hex'))
    }
    const single = handed.filter((each) => each !== 'last resort')
    assert.equal(new Set(single).size, single.length, 'no single-use package is handed out twice')
    assert.deepEqual([single.length, handed.length], [4, 6])
  })
})

suite('lost on the way', () => {
  test('N01: a send that is cut at any byte is done once or not at all, and once when it is sent again', async () => {
    using mallory = await stage.person()
    const conversation = await mallory.groupWith()
    const whole = message(mallory.frame('send', mallory.newSend(conversation, random(20))).bytes)
    mallory.number -= 1
    let accepted = 1 // the first commit
    for (const end of numbers(whole.length + 1)) {
      const send = mallory.newSend(conversation, random(20))
      mallory.wire.socket.write(message(mallory.frame('send', send).bytes).subarray(0, end))
      await new Promise<void>((resolve) => mallory.wire.socket.end(resolve))
      await mallory.wire.closed
      await mallory.reconnect()
      const { sequence } = await mallory.ask('read-state', { conversation })
      assert.equal(sequence, end < whole.length ? accepted : sequence, `cut at ${end}`)
      const first = await mallory.ask('send', send)
      assert.deepEqual(await mallory.ask('send', send), first, `cut at ${end}`)
      accepted += 1
      assert.equal(first.sequence, accepted)
      mallory.number = send.number + 1
    }
  })

  test('N01, N06: of requests whose answers are lost every repetition gets the first answer, and the effect is there once', async () => {
    const identity = await newIdentity(stage.server.link, 'forgetful')
    using mallory = new Peer(identity, stage.port)
    await mallory.connect()
    mallory.wire.socket.pause()
    mallory.wire.send(mallory.frame('register', mallory.registration).bytes)
    await untilRegistered(mallory)
    mallory.cut()
    await mallory.connect()
    const registered = await mallory.ask('register', mallory.registration)
    assert.deepEqual(await mallory.ask('register', mallory.registration), registered)
    await mallory.prove()
    const conversation = await mallory.groupWith()
    const commit = mallory.newCommit(conversation, 1, [mallory.device])
    const send = mallory.newSend(conversation, random(20))
    for (const delayMs of numbers(12)) {
      const [one, other] = [mallory.frame('commit', commit), mallory.frame('send', send)]
      for (const { number } of [one, other]) mallory.answerTo(number).catch(() => {}) // lost, or too late
      mallory.wire.send(one.bytes, other.bytes)
      await sleep(delayMs)
      mallory.cut()
      await mallory.wire.closed
      await mallory.reconnect()
    }
    const answers = [await mallory.ask('commit', commit), await mallory.ask('send', send)]
    assert.deepEqual(
      answers.map(({ sequence }) => sequence).sort(),
      [2, 3],
      'in one order or the other, and each of them once',
    )
    assert.deepEqual([await mallory.ask('commit', commit), await mallory.ask('send', send)], answers)
    assert.equal((await mallory.ask('read-state', { conversation })).sequence, 3)
    const changed = { ...send, sealed: random(20) }
    assert.equal(await mallory.outcomeOf('send', changed), 'id-reused')
    assert.equal(await mallory.outcomeOf('send', { ...send, id: decode(SendId, random(16)) }), 'id-reused')
  })

  /** The answer is lost: whether it was done is seen from elsewhere. */
  async function untilRegistered({ identity }: Peer): Promise<void> {
    while ((await stage.alice.ask('find', { after: accountName(identity.name) })) === undefined) await sleep(5)
  }
})

test('N05: after the server was killed a thousand connections come at once, and every device is back and served', async (t) => {
  await using temporary = await temporaryFolder('memory')
  const folder = temporary.of('data')
  const people = 40
  const each = 25
  const sessions: Peer[] = []
  let port: number
  {
    await using server = await ServerProcess.start({ folder })
    port = server.http.port
    for (const i of numbers(people)) {
      using first = await Peer.register(server.link, `person ${i}`)
      sessions.push(new Peer(first.identity, port))
    }
  }
  await using server = await ServerProcess.start({ folder, flags: ['--port', String(port)] })
  // each device may have one session: who comes again takes the place of the one before
  const storms = numbers(each).flatMap(() => sessions.map(({ identity }) => new Peer(identity, port)))
  const began = performance.now()
  const outcomes = await Promise.all(storms.map((peer) => comeBack(peer)))
  t.diagnostic(`${storms.length} came back in ${Math.round(performance.now() - began)} ms`)
  assert.deepEqual(
    [...new Set(outcomes)].filter((outcome) => !/^(?:done|no answer)$/.test(outcome)),
    [],
  )
  for (const peer of sessions) {
    await peer.reconnect()
    assert.equal(await peer.outcomeOf('count-packages', undefined), 'done')
  }
  for (const peer of [...storms, ...sessions]) peer[Symbol.dispose]()
  assert.deepEqual(
    server.run.log.filter(({ level }) => level === 'error'),
    [],
  )

  async function comeBack(peer: Peer): Promise<string> {
    try {
      return await reasonOf(peer.reconnect())
    } catch (error) {
      if (error instanceof Rejected) return `rejected with ${error.status}`
      throw error
    }
  }
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ConversationId } from '@messageu/protocol/v3'
import type { Reply } from '../fake-server.ts'
import { never } from '../world.ts'
import { holdBack } from './interception.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { spoil } from './spoiling.ts'

const repairMs = 60_000
const silence: Reply = { kind: 'silence' }

interface Team {
  readonly alice: Device
  readonly others: readonly Device[]
  readonly group: ConversationId
  /** What brings the server back to before that commit, and to after it. */
  readonly healthy: () => void
  readonly broken: () => void
}

/** A group of four in which nobody can go on, because of a commit by the last of them. */
async function brokenTeam(world: MessagingWorld): Promise<Team> {
  const [alice, bob, carol, dave] = await world.people('alice', 'bob', 'carol', 'dave')
  await world.acquaint(alice, bob, carol, dave)
  const group = await world.group(alice, 'team', bob, carol, dave)
  await dave.sayTo(group, 'before')
  const healthy = world.server.copy()
  const { stop } = spoil(world.server, dave.identity.device, ['commit', 'groupInfo'])
  world.clock.jump(8 * 86_400_000) // keys are renewed before the next message, by a commit
  dave.client.sendTo(group, { text: 'never' }, { signal: never }).catch(() => {})
  await world.pass(1_000)
  stop()
  return { alice, others: [bob, carol], group, healthy, broken: world.server.copy() }
}

/** Only this device begins anything anew, and cannot bring anybody in until the test says so. */
function onlyBeginner(world: MessagingWorld, { identity }: Device): { free: () => void } {
  world.server.lie = (name, _body, { device }) => {
    const isBeginner = device !== undefined && same(device, identity.device)
    if (name === 'recreate' && !isBeginner) return silence
    return name === 'claim' && isBeginner ? silence : undefined
  }
  return {
    free: () => {
      world.server.lie = undefined
      for (const session of world.server.sessions) session.cut()
    },
  }
}

describe('C13: a conversation that is begun anew', () => {
  test('has nothing in it that was sealed before the others are back', async () => {
    await using world = await MessagingWorld.start()
    const { alice, others, group } = await brokenTeam(world)
    const { free } = onlyBeginner(world, alice)
    await world.pass(repairMs)
    assert.equal(world.server.ledger(group)?.generation, 2)
    const saying = alice.client.sendTo(group, { text: 'are you back?' }, { signal: never })
    saying.catch(() => {})
    await world.pass(1_000)
    free()
    await world.pass(1_000)
    await world.over(saying.catch(() => alice.client.sendTo(group, { text: 'are you back?' }, { signal: never })))
    await world.pass(60_000)
    for (const each of others) {
      assert.deepEqual(await each.texts('#team'), ['before', 'are you back?'], each.name)
      assert.deepEqual(each.kinds('unopened'), [])
    }
    assert.equal(world.server.ledger(group)?.generation, 2)
  })

  for (const { title, when } of [
    { title: 'after the server was restored to where nobody could go on, goes on all the same', when: 'broken' },
    { title: 'is not left for the generation that has ended, whoever shows that', when: 'healthy' },
  ] as const)
    test(title, async () => {
      await using world = await MessagingWorld.start()
      const { alice, others, group, ...copies } = await brokenTeam(world)
      await world.pass(5 * repairMs)
      await alice.sayTo(group, 'it goes on')
      assert.equal(world.server.ledger(group)?.generation, 2)
      copies[when]()
      await world.pass(5 * repairMs)
      assert.equal(world.server.ledger(group)?.generation, 3)
      const people = [alice, ...others]
      for (const each of people) assert.deepEqual(await each.members(group), ['alice', 'bob', 'carol', 'dave'])
      for (const each of people) await each.sayTo(group, `by ${each.name}`)
      for (const each of people)
        assert.deepEqual((await each.texts('#team')).slice(-4), ['it goes on', 'by alice', 'by bob', 'by carol'])
    })

  test('goes on where the answer to whoever began it was lost, and nobody else is there', async () => {
    await using world = await MessagingWorld.start()
    const { alice, others, group } = await brokenTeam(world)
    for (const each of world.devices) if (each !== alice) await each.goOffline()
    let isLost = false
    world.server.lie = (name, _body, session) => {
      if (name !== 'recreate' || isLost) return undefined
      isLost = true
      session.cut() // it is done, and not answered
      return undefined
    }
    await world.pass(10 * repairMs)
    assert(isLost)
    assert.equal((await alice.client.describe(group))?.standing, 'active')
    await alice.sayTo(group, 'it goes on')
    for (const each of others) await each.comeOnline()
    await world.pass(1_000)
    for (const each of others) assert.deepEqual(await each.texts('#team'), ['before', 'it goes on'], each.name)
  })

  test('takes nothing of what was accepted before and comes late: a message waits to be given again, a commit is nothing', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const back = world.server.copy()
    const group = await world.group(alice, 'team', bob)
    await bob.sayTo(group, 'before')
    const late = holdBack(world.server, bob.identity.device)
    world.clock.jump(8 * 86_400_000) // keys are renewed before the next message, by a commit
    await alice.sayTo(group, 'late')
    world.server.twist = undefined
    back()
    await world.pass(5 * repairMs)
    const ledger = world.server.ledger(group) ?? assert.fail()
    assert(ledger.generation > 1)
    const stuck = bob.told('stuck').length
    assert.deepEqual(late.map(({ kind }) => kind).sort(), ['application', 'commit'])
    await alice.goOffline()
    for (const parts of late) world.server.slip(bob.identity.device, { ...parts, sequence: ++ledger.sequence })
    await world.pass(repairMs)
    assert.deepEqual([bob.told('stuck').length, bob.told('fork').length], [stuck, 0])
    assert.deepEqual(
      bob.shown.flatMap((each) => (each.kind === 'unopened' ? each.reason : [])),
      ['gone'],
    )
  })

  test('by a device that disappears before it has brought anybody in is begun once more', async () => {
    await using world = await MessagingWorld.start()
    const { alice, others, group } = await brokenTeam(world)
    const { free } = onlyBeginner(world, alice)
    await world.pass(repairMs)
    assert.equal(world.server.ledger(group)?.generation, 2)
    await alice.goOffline()
    free()
    await world.pass(repairMs / 2)
    assert.equal(world.server.ledger(group)?.generation, 2, 'it has time to bring the others in')
    await world.pass(20 * repairMs)
    assert.equal(world.server.ledger(group)?.generation, 3)
    for (const each of others) assert.equal((await each.client.describe(group))?.standing, 'active', each.name)
    await alice.comeOnline()
    await world.pass(repairMs)
    const people = [alice, ...others]
    for (const each of people) await each.sayTo(group, `by ${each.name}`)
    for (const each of people)
      assert.deepEqual(await each.texts('#team'), ['before', 'by alice', 'by bob', 'by carol'], each.name)
  })
})

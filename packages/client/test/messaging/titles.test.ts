import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RefusedError, toBase64url } from '@messageu/protocol/v3'
import type { Item } from '../../src/messaging/items.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { liveFor } from './mortal.ts'
import { MessagingWorld } from './people.ts'

test('I3: of two titles the one that stands behind counts for everybody, also where the other is answered later', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  const group = await world.group(alice, 'Board', bob)
  await world.over(alice.client.appoint('#Board', ['alice', 'bob'], { signal: never }))
  // the server accepts what Alice sends; she does not hear of it, and is not answered when she sends it again
  let times = 0
  world.server.lie = (name, _body, { device }) => {
    if (name !== 'send' || device === undefined || !same(device, alice.identity.device)) return undefined
    times += 1
    if (times > 1) return { kind: 'silence' }
    for (const session of world.server.sessionsOf(device)) session.cut()
    return undefined
  }
  const renaming = alice.client.rename('#Board', 'Bored', { signal: never })
  renaming.catch(() => {}) // it is waited for below
  await world.pass(10_000)
  await world.over(bob.client.rename(`#${toBase64url(group)}`, 'Broad', { signal: never }))
  await world.pass(1_000)
  world.server.lie = undefined
  for (const session of world.server.sessionsOf(alice.identity.device)) session.cut()
  await world.over(renaming)
  await world.pass(10_000)
  for (const device of [alice, bob]) assert.equal((await device.client.describe(group))?.title, 'Broad', device.name)
})

/** A group of Alice and Bob, who both own it; Alice brings Carol in, and ends as soon as the server has taken that. */
async function interrupted(world: MessagingWorld) {
  const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
  await world.acquaint(alice, bob, carol)
  const group = await world.group(alice, 'Board', bob)
  await world.over(alice.client.appoint('#Board', ['alice', 'bob'], { signal: never }))
  world.server.lie = (name, _body, { device }) =>
    name === 'send' && device !== undefined && same(device, alice.identity.device) ? { kind: 'silence' } : undefined
  const adding = alice.client.addPeople('#Board', ['carol'], { signal: never })
  adding.catch(() => {}) // it is interrupted
  const isThere = async () => (await carol.client.describe(group)) !== undefined
  for (let seconds = 0; !(await isThere()) && seconds < 60; seconds++) await world.pass(100)
  await alice.goOffline()
  world.server.lie = undefined
  assert.equal((await carol.client.describe(group))?.title, undefined)
  return { alice, bob, carol, group }
}

test('K07: whoever is brought into a group reads its title, also if the other ends before saying it and never returns', async () => {
  await using world = await MessagingWorld.start()
  const { carol, bob, group } = await interrupted(world)
  await world.pass(120_000)
  assert.equal((await carol.client.describe(group))?.title, 'Board')
  assert.equal(titlesIn(await bob.historyOf(group)), 2)
})

test('K07: whoever ends before saying the title to somebody new says it when back', async () => {
  await using world = await MessagingWorld.start()
  const { alice, bob, carol, group } = await interrupted(world)
  await bob.goOffline()
  await alice.comeOnline()
  await world.pass(120_000)
  assert.equal((await carol.client.describe(group))?.title, 'Board')
  assert.equal(titlesIn(await alice.historyOf(group)), 2)
})

test('whoever renames a group while somebody comes tells them the new title, though it is answered after they have come', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
  await world.acquaint(alice, bob, carol)
  const group = await world.group(alice, 'Board', bob)
  await world.over(alice.client.appoint('#Board', ['alice', 'bob'], { signal: never }))
  // the server accepts what Alice sends first, and answers nothing; of what Bob sends it hears nothing
  let times = 0
  world.server.lie = (name, _body, session) => {
    if (name !== 'send') return undefined
    if (session.device !== undefined && same(session.device, alice.identity.device) && ++times === 1) {
      session.cut()
      return undefined
    }
    return { kind: 'silence' }
  }
  const renaming = alice.client.rename('#Board', 'Bored', { signal: never })
  renaming.catch(() => {}) // it is waited for below
  await world.pass(5_000)
  bob.client.addPeople(`#${toBase64url(group)}`, ['carol'], { signal: never }).catch(() => {}) // it is interrupted
  await world.pass(1_000)
  assert.notEqual(await carol.client.describe(group), undefined)
  await bob.goOffline()
  await world.pass(120_000)
  world.server.lie = undefined
  for (const session of world.server.sessionsOf(alice.identity.device)) session.cut()
  await world.over(renaming)
  await world.pass(120_000)
  for (const { client, name } of [alice, carol]) assert.equal((await client.describe(group))?.title, 'Bored', name)
})

test('a title that waits for its answer is not said once more', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
  await world.acquaint(alice, bob, carol)
  const group = await world.group(alice, 'Board', bob)
  world.server.lie = (name) => (name === 'send' ? { kind: 'silence' } : undefined)
  const adding = alice.client.addPeople('#Board', ['carol'], { signal: never })
  await world.pass(5 * 60_000)
  world.server.lie = undefined
  for (const session of world.server.sessions) session.cut()
  await world.over(adding)
  await world.pass(60_000)
  assert.equal((await carol.client.describe(group))?.title, 'Board')
  assert.equal(titlesIn(await alice.historyOf(group)), 2)
})

test('whoever is brought in while the title is on its way to somebody else, and cannot open that, reads it as well', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob, carol, dave] = await world.people('alice', 'bob', 'carol', 'dave')
  await world.acquaint(alice, bob, carol, dave)
  const group = await world.group(alice, 'Board', bob)
  const adding = ['carol', 'dave'].map((name) => alice.client.addPeople('#Board', [name], { signal: never }))
  await world.over(Promise.all(adding))
  await world.pass(120_000)
  for (const each of [carol, dave]) assert.equal((await each.client.describe(group))?.title, 'Board', each.name)
})

test('a group is not told its title again when somebody who is in it has one device more', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  const group = await world.group(alice, 'Board', bob)
  const tablet = await world.sibling(bob)
  await world.pass(120_000)
  assert.equal((await tablet.client.describe(group))?.title, 'Board')
  assert.equal(titlesIn(await alice.historyOf(group)), 1)
})

test('K07: killed between any two steps of bringing somebody in, the title reaches them', async () => {
  let steps = 1
  for (let outcome = 'killed'; outcome === 'killed'; steps += 2) {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'Board', bob)
    outcome = await liveFor(steps, world, alice, async ({ client }) => {
      await client.addPeople('#Board', ['carol'], { signal: never })
    })
    await alice.comeOnline()
    await world.pass(120_000)
    const known = await carol.client.describe(group)
    if (known !== undefined) assert.equal(known.title, 'Board', `killed after step ${steps}`)
    assert.ok(titlesIn(await alice.historyOf(group)) <= 2, `killed after step ${steps}`)
  }
  assert.ok(steps > 20, `${steps} steps are not all of them`)
})

function titlesIn(items: readonly Item[]): number {
  return items.filter((item) => item.kind === 'message' && item.content.kind === 'title').length
}

test('a title that the server does not take is told of once, and not said again and again', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
  await world.acquaint(alice, bob, carol)
  await world.group(alice, 'Board', bob)
  world.server.lie = (name, _body, { device }) =>
    name === 'send' && device !== undefined && same(device, alice.identity.device)
      ? { kind: 'refuse', error: new RefusedError('too-large', 'no room') }
      : undefined
  const adding = alice.client.addPeople('#Board', ['carol'], { signal: never })
  adding.catch(() => {}) // whether it fails because of the title is not what this is about
  await world.pass(600_000)
  assert.equal(alice.told('failed').length, 1)
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { contactRow } from '../../src/messaging/rows.ts'
import { dropRow } from '../../src/rows.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { MessagingWorld } from './people.ts'

describe('whoever was brought in while away, and comes back when others have gone on', () => {
  test('has its place, and everything that was said since it was brought in', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
    await world.acquaint(alice, bob, carol)
    const group = await world.group(alice, 'team', bob)
    await carol.goOffline()
    await world.over(alice.client.addPeople('#team', ['carol'], { signal: never }))
    await alice.sayTo(group, 'welcome, carol')
    world.clock.jump(8 * 86_400_000) // keys are renewed before the next message, by a commit
    await bob.sayTo(group, 'are you there?')
    await carol.comeOnline()
    await world.pass(120_000)
    const known = await carol.client.describe(group)
    assert.equal(known?.standing, 'active')
    assert.equal(known.title, 'team')
    assert.deepEqual([...carol.heard].sort(), ['are you there?', 'welcome, carol'])
    assert.deepEqual(await carol.texts(`#team`), ['welcome, carol', 'are you there?'])
    assert.deepEqual(carol.told('unwelcome'), [])
    await carol.sayTo(group, 'here I am')
    assert.deepEqual([alice.heard.at(-1), bob.heard.at(-1)], ['here I am', 'here I am'])
  })

  test('brought in by a stranger, it says nothing until the stranger is accepted', async () => {
    await using world = await MessagingWorld.start()
    const [mallory, bob] = await world.people('mallory', 'bob')
    await bob.goOffline()
    const group = await world.group(mallory, 'party', bob)
    await world.person('eve')
    await world.over(mallory.client.addPeople('#party', ['eve'], { signal: never }))
    await bob.comeOnline()
    await world.pass(120_000)
    assert.equal(world.server.log.filter(({ device }) => same(device, bob.identity.device)).length, 0)
    await bob.client.judge('mallory', 'accept', { signal: never })
    await world.pass(600_000)
    assert.equal((await bob.client.describe(group))?.standing, 'active')
  })
})

test('K07: whose list was stored, and whose name was not when the program died, has a name where it is shown', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
  await world.acquaint(alice, bob, carol)
  await carol.goOffline()
  const { revision } = carol.store
  await carol.store.commit([dropRow(contactRow, bob.identity.account)], revision)
  await world.group(alice, 'team', bob, carol)
  await carol.comeOnline()
  const [joined] = carol.kinds('joined').slice(-1)
  assert(joined?.kind === 'joined')
  assert.deepEqual(joined.members.map(({ name }) => name).sort(), ['alice', 'bob', 'carol'])
})

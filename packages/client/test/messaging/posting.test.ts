import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { messagingLimits as limits } from '../../src/messaging/limits.ts'
import { never } from '../world.ts'
import { MessagingWorld } from './people.ts'

describe('I3: messages that a program posts at the same time', () => {
  test('arrive in the order in which they were posted, however many updates of the keys come between', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    const epoch = () => world.server.ledger(team)?.epoch ?? 0
    const before = epoch()
    const texts = Array.from({ length: 3 * limits.messagesPerUpdate }, (_, i) => `message ${i}`)
    const posted = texts.map((text) => alice.client.sendTo(team, { text }, { signal: never }))
    await world.over(Promise.all(posted))
    assert.deepEqual(bob.heard, texts)
    assert.equal(epoch() - before, 2)
  })

  test('wait for the one before them no longer than they want to', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    for (let i = 0; i < limits.messagesPerUpdate; i++) await alice.client.sendTo(team, { text: 'x' }, { signal: never })
    world.server.lie = (name) => (name === 'commit' ? { kind: 'silence' } : undefined)
    const first = alice.client.sendTo(team, { text: 'first' }, { signal: never })
    const patience = new AbortController()
    const second = alice.client.sendTo(team, { text: 'second' }, { signal: patience.signal })
    const third = alice.client.sendTo(team, { text: 'third' }, { signal: never })
    patience.abort(new Error('no patience'))
    await assert.rejects(second, /no patience/)
    world.server.lie = undefined
    for (const session of world.server.sessions) session.cut()
    await world.over(Promise.all([first, third]))
    assert.deepEqual(bob.heard.slice(-2), ['first', 'third'])
  })

  test('go out all the same when whoever waits for their answer stops waiting', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const team = await world.group(alice, 'team', bob)
    world.server.lie = (name) => (name === 'send' ? { kind: 'silence' } : undefined)
    const patience = new AbortController()
    const sending = alice.client.sendTo(team, { text: 'said' }, { signal: patience.signal })
    sending.catch(() => {})
    await world.pass(1_000)
    patience.abort(new Error('no patience'))
    await assert.rejects(world.over(sending, { minutes: 1 }), /no patience/)
    world.server.lie = undefined
    for (const session of world.server.sessions) session.cut()
    await world.pass(60_000)
    assert.deepEqual(bob.heard, ['said'])
  })
})

test('nothing is said without words, and no group is without a title: neither is begun', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  const { ledgers, accepted } = world.server
  await assert.rejects(alice.client.send('bob', { text: '' }, { signal: never }), { reason: 'empty-text' })
  for (const title of ['', ' \t'])
    await assert.rejects(alice.client.createGroup(title, ['bob'], { signal: never }), { reason: 'empty-text' })
  assert.deepEqual([ledgers.size, accepted.length], [0, 0])
  const team = await world.group(alice, 'team', bob)
  await assert.rejects(alice.client.rename('#team', '', { signal: never }), { reason: 'empty-text' })
  await assert.rejects(alice.client.sendTo(team, { text: '' }, { signal: never }), { reason: 'empty-text' })
  await alice.sayTo(team, ' ')
  assert.deepEqual(bob.heard, [' '])
})

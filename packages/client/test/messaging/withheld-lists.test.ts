import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RefusedError } from '@messageu/protocol/v3'
import { MemoryStore } from '../../src/memory-store.ts'
import { beginLinking } from '../../src/messaging/linking.ts'
import { same } from './ledger.ts'
import { MessagingWorld } from './people.ts'

test('S07: a list that its owner names and the server withholds is an alarm, once it is named', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  await alice.say('bob', 'before')
  world.server.lie = (name, _, session) =>
    name === 'read-list' && session.device !== undefined && same(session.device, bob.identity.device)
      ? { kind: 'refuse', error: new RefusedError('not-permitted', 'no such account') }
      : undefined
  // a device that is listed, and cannot be brought in yet: no commit tells of the list
  const code = await beginLinking({ store: new MemoryStore(), world: world.world }, await alice.client.offer())
  const stop = new AbortController()
  const tell = ({ kind }: { kind: string }): void => void (kind === 'listed' && stop.abort(new Error('interrupted')))
  await assert.rejects(world.over(alice.client.admit(code, { tell, signal: stop.signal })))
  assert.deepEqual(bob.told('alarm'), [])
  await alice.say('bob', 'from one of two')
  const alarms = bob.shown.flatMap((each) => (each.kind === 'told' && each.told.kind === 'alarm' ? each.told.body : []))
  assert.deepEqual(
    alarms.map(({ kind }) => kind),
    ['older-list'],
  )
  assert.deepEqual(bob.heard, ['before', 'from one of two'])
})

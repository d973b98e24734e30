import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RefusedError } from '@messageu/protocol/v3'
import { MemoryStore } from '../../src/memory-store.ts'
import { beginLinking } from '../../src/messaging/linking.ts'
import { continuedBy, entriesOf, showList } from './false-lists.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'

async function scene(world: MessagingWorld): Promise<{ alice: Device; bob: Device }> {
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  await alice.say('bob', 'before')
  return { alice, bob }
}

/** Her list has one device more, which cannot be brought in yet: no commit tells of it. Then she says something. */
async function speaksOfHerList(world: MessagingWorld, alice: Device, bob: Device): Promise<void> {
  const code = await beginLinking({ store: new MemoryStore(), world: world.world }, await alice.client.offer())
  const stop = new AbortController()
  const tell = ({ kind }: { kind: string }): void => void (kind === 'listed' && stop.abort(new Error('interrupted')))
  await assert.rejects(world.over(alice.client.admit(code, { tell, signal: stop.signal })))
  assert.deepEqual(bob.told('alarm'), [])
  await alice.say('bob', 'from one of two')
}

function alarmsOf({ shown }: Device): readonly string[] {
  return shown.flatMap((each) => (each.kind === 'told' && each.told.kind === 'alarm' ? each.told.body.kind : []))
}

test('S07: a list that its owner names and the server withholds is an alarm, once it is named', async () => {
  await using world = await MessagingWorld.start()
  const { alice, bob } = await scene(world)
  world.server.lie = (name, _, session) =>
    name === 'read-list' && session.device !== undefined && same(session.device, bob.identity.device)
      ? { kind: 'refuse', error: new RefusedError('not-permitted', 'no such account') }
      : undefined
  await speaksOfHerList(world, alice, bob)
  assert.deepEqual(alarmsOf(bob), ['older-list'])
  assert.deepEqual(bob.heard, ['before', 'from one of two'])
})

test('C 8: a list that its owner names, and another one in its place that the server shows, is another alarm', async () => {
  await using world = await MessagingWorld.start()
  const { alice, bob } = await scene(world)
  const { account } = alice.identity
  const entries = await continuedBy(alice, entriesOf(world.server, account), 1)
  showList(world.server, bob.identity.device, { account, entries })
  await speaksOfHerList(world, alice, bob)
  assert.deepEqual(alarmsOf(bob), ['forked-list'])
  assert.deepEqual(bob.heard, ['before', 'from one of two'])
})

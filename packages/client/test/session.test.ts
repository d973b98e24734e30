import assert from 'node:assert/strict'
import { test } from 'node:test'
import { never, TestWorld } from './world.ts'

test('who registers has a session, and is who the server says', async () => {
  const world = await TestWorld.start()
  const alice = await world.person('alice')
  await using session = await world.connect(alice)
  assert.equal(session.phase.phase, 'open')
  assert.equal(session.account.identity.name, 'alice')
  const list = await session.ownList({ signal: never })
  assert.equal(list.devices.length, 1)
})

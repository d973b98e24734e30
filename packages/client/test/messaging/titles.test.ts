import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toBase64url } from '@messageu/protocol/v3'
import { never } from '../world.ts'
import { same } from './ledger.ts'
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

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { limits } from '@messageu/protocol/v3'
import { historyRow } from '../../src/messaging/rows.ts'
import { rowsOf } from '../../src/rows.ts'
import { random } from '../world.ts'
import { damageNext } from './interception.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { flipped } from './spoiling.ts'

test('C 9: what cannot be opened is kept as it came, with the reason, as long as a message may be and no longer', async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  await alice.say('bob', 'before')
  const bobs = bob.identity.device
  // he asks nobody for it, and gets nothing in its place
  world.server.lie = (name, _, { device }) =>
    name === 'send' && device !== undefined && same(device, bobs) ? { kind: 'silence' } : undefined
  const came: Uint8Array[] = []
  const damages = [flipped, () => random(limits.sealedBytesMax), () => random(limits.sealedBytesMax + 1)]
  for (const damage of damages) {
    damageNext(world.server, bobs, (sealed) => {
      const damaged = damage(sealed)
      came.push(damaged)
      return damaged
    })
    await alice.say('bob', 'spoilt')
  }
  await world.pass(10_000)
  assert.deepEqual(bob.heard, ['before'])
  assert.equal(bob.kinds('unopened').length, damages.length)
  const kept = await unopenedBy(bob)
  assert.deepEqual(
    kept.map(({ reason }) => reason),
    ['unopenable', 'malformed', 'malformed'],
  )
  assert.deepEqual(
    kept.map(({ sealed }) => digestOf(sealed)),
    [...came.slice(0, 2), new Uint8Array()].map(digestOf),
  )
})

/** So many bytes are not to be printed where they differ. */
const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

async function unopenedBy({ store }: Device) {
  const found = []
  for await (const { row } of rowsOf(store, historyRow)) if (row.entry.kind === 'unopened') found.push(row.entry.body)
  return found
}

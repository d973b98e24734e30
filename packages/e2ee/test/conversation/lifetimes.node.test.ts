import assert from 'node:assert/strict'
import { test } from 'node:test'
import { applyCommit } from '../../src/conversation/index.ts'
import { addInTheNameOf, forgeCommit } from './forge.ts'
import { Room, World } from './world.ts'

test('S08: a commit that adds is valid whatever time it is when it comes', async (context) => {
  const world = new World('lifetime')
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const room = await Room.of(world, alice.phone, [bob.phone])
  const madeMs = Date.now()
  const notAfter = BigInt(Math.floor(madeMs / 1000) + 3600) // seconds, as the engine counts
  const add = await addInTheNameOf(carol, carol.phone, { notBefore: 0n, notAfter })
  const forged = await forgeCommit(room, alice.phone, { proposals: [add], touching: [carol] })
  context.mock.timers.enable({ apis: ['Date'], now: madeMs + 30 * 86_400_000 })
  const applied = await applyCommit(room.state(bob.phone), room.arrived(alice.phone, forged), { lists: world.lists })
  assert.equal(applied.kind, 'applied', JSON.stringify(applied))
})

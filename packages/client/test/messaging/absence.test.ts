import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../src/limits.ts'
import type { Transport } from '../../src/transport.ts'
import { never } from '../world.ts'
import { MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

const count = Number(process.env.MESSAGING_WAITING ?? 1_000)
const dayMs = 86_400_000

test(`N07: after 30 days and ${count} messages a device catches up, in order, with bounded memory`, async () => {
  await using world = await MessagingWorld.start()
  const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
  await world.acquaint(alice, bob, carol)
  await world.group(alice, 'team', bob)
  await bob.goOffline()
  const texts = Array.from({ length: count }, (_, i) => `message ${i}`)
  for (const [i, text] of texts.entries()) {
    await alice.client.send('#team', { text }, { signal: never })
    if (i % Math.ceil(count / 30) === 0) world.clock.jump(dayMs)
    if (i === count / 2) await world.over(alice.client.addPeople('#team', ['carol'], { signal: never }))
  }
  assert.ok(world.clock.nowMs() > 1_700_000_000_000 + 29 * dayMs)

  let most = 0
  const counting: Transport = {
    open: (link, events) =>
      world.server.open(link, {
        ...events,
        message(message) {
          events.message(message)
          most = Math.max(most, unstored())
        },
      }),
  }
  const unstored = (): number => {
    const [session] = world.server.sessionsOf(bob.identity.device)
    const { acknowledged, waiting } = world.server.mailbox(bob.identity.device)
    const { delivered } = session ?? { delivered: 0 }
    return waiting.filter(({ position }) => position > acknowledged && position <= delivered).length
  }
  await bob.comeOnline({ world: { ...world.world, transport: counting } })
  await world.over(bob.client.caughtUp({ signal: never }))
  await still()
  assert.deepEqual(bob.heard, texts)
  assert.deepEqual(await bob.texts('#team'), texts)
  assert.deepEqual([bob.kinds('unopened'), bob.kinds('gap'), bob.told('stuck')], [[], [], []])
  assert.ok(most <= limits.windowMessages, `${most} deliveries were under way at once`)
  await bob.say('#team', 'I am back')
  assert.deepEqual([alice.heard, carol.heard.slice(-1)], [['I am back'], ['I am back']])
})

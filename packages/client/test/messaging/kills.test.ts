import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { DeviceId } from '@messageu/protocol/v3'
import { Life, mortalStore, mortalWorld } from '../mortal.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** What a device put on the wire, to find out whether it ever used a key twice. */
function sealedBy(world: MessagingWorld, device: DeviceId): readonly string[] {
  return world.server.log
    .filter((each) => same(each.device, device) && 'sealed' in each.request)
    .map(({ request }) => ('sealed' in request ? Buffer.from(request.sealed).toString('hex') : ''))
}

interface Scene {
  readonly world: MessagingWorld
  readonly alice: Device
  readonly bob: Device
}

async function scene(): Promise<Scene> {
  const world = await MessagingWorld.start()
  const [alice, bob] = await world.people('alice', 'bob')
  await world.acquaint(alice, bob)
  await alice.say('bob', 'before')
  await bob.say('alice', 'before too')
  return { world, alice, bob }
}

/** A life of `steps` steps of one of them doing `work`; then the same profile again, in a new process. */
async function killedAfter(
  steps: number,
  { world }: Scene,
  device: Device,
  work: (device: Device) => Promise<void>,
): Promise<'killed' | 'whole'> {
  await device.goOffline()
  const life = Life.of(steps)
  const killed = device.anew({ store: mortalStore(device.store, life), world: mortalWorld(world.world, life) })
  const whole = killed.comeOnline().then(work)
  let isWhole = false
  whole.then(
    () => {
      isWhole = true
    },
    () => {},
  )
  for (let seconds = 0; seconds < 120 && !isWhole && !life.isOver; seconds++) {
    await still()
    if (!isWhole && !life.isOver) await world.pass(1_000)
  }
  await still()
  if (isWhole) await killed.goOffline()
  else killed.die()
  device.shown.push(...killed.shown)
  await device.comeOnline()
  return isWhole ? 'whole' : 'killed'
}

describe('K07: a device that is killed between any two steps', () => {
  test('of sending: what was stored is sent once, nothing else, and everybody can open it (I1, I2, I3)', async () => {
    let steps = 1
    for (let outcome = 'killed'; outcome === 'killed'; steps += 1) {
      const here = await scene()
      await using world = here.world
      const { alice, bob } = here
      const texts = ['one', 'two', 'three']
      outcome = await killedAfter(steps, here, alice, async ({ client }) => {
        for (const text of texts) await client.send('bob', { text }, { signal: never })
      })
      await world.pass(120_000)
      const said = (await alice.texts('bob')).slice(2)
      assert.deepEqual(said, texts.slice(0, said.length), `killed after step ${steps}`)
      await alice.say('bob', 'after')
      assert.deepEqual(bob.heard.slice(1), [...said, 'after'], `killed after step ${steps}`)
      assert.deepEqual(await bob.texts('alice'), await alice.texts('bob'), `killed after step ${steps}`)
      assert.equal(bob.kinds('unopened').length + bob.kinds('gap').length, 0, `killed after step ${steps}`)
      const sealed = sealedBy(world, alice.identity.device)
      assert.equal(new Set(sealed).size, sealed.length)
      assert.deepEqual(alice.ends, [], `killed after step ${steps}`)
    }
    assert.ok(steps > 20, `${steps} steps are not all of them`)
  })

  test('of receiving: everything is shown, once unless it died while showing it, in one order (I1, I2, I3)', async () => {
    let steps = 1
    for (let outcome = 'killed'; outcome === 'killed'; steps += 1) {
      const here = await scene()
      await using world = here.world
      const { alice, bob } = here
      await bob.goOffline()
      const texts = ['one', 'two', 'three']
      for (const text of texts) await alice.client.send('bob', { text }, { signal: never })
      await world.group(alice, 'team', bob)
      await alice.client.send('#team', { text: 'four' }, { signal: never })
      outcome = await killedAfter(steps, here, bob, async (device) => {
        await device.client.caughtUp({ signal: never })
        await still()
        await device.client.idle()
      })
      await world.pass(120_000)
      assert.deepEqual(await bob.texts('alice'), ['before', 'before too', ...texts], `killed after step ${steps}`)
      assert.deepEqual(await bob.texts('#team'), ['four'], `killed after step ${steps}`)
      assert.equal(bob.kinds('unopened').length + bob.kinds('gap').length, 0, `killed after step ${steps}`)
      const heard = bob.heard.slice(1)
      assert.deepEqual([...new Set(heard)], [...texts, 'four'], `killed after step ${steps}`)
      assert.deepEqual(bob.ends, [], `killed after step ${steps}`)
      await bob.say('alice', 'after')
      await bob.say('#team', 'after')
      assert.deepEqual(alice.heard.slice(-2), ['after', 'after'], `killed after step ${steps}`)
    }
    assert.ok(steps > 20, `${steps} steps are not all of them`)
  })

  test('of making a group: nobody is left in half of one that cannot be mended', async () => {
    let steps = 1
    for (let outcome = 'killed'; outcome === 'killed'; steps += 2) {
      const here = await scene()
      await using world = here.world
      const { alice, bob } = here
      outcome = await killedAfter(steps, here, alice, async ({ client }) => {
        await client.createGroup('team', ['bob'], { signal: never })
      })
      await world.pass(120_000)
      for await (const { conversation, kind, standing, members } of alice.client.conversations()) {
        if (kind !== 'group') continue
        assert.equal(standing, 'active', `killed after step ${steps}`)
        if (!members.some(({ name }) => name === 'bob')) continue
        const sent = await world.over(alice.client.sendTo(conversation, { text: 'still here' }, { signal: never }))
        assert.ok(sent.sequence > 0)
      }
      await still()
      assert.equal(bob.kinds('unopened').length + bob.kinds('gap').length, 0, `killed after step ${steps}`)
      await alice.say('bob', 'after')
      assert.equal(bob.heard.at(-1), 'after')
    }
    assert.ok(steps > 20, `${steps} steps are not all of them`)
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ConversationId } from '@messageu/protocol/v3'
import { MemoryStore } from '../../src/memory-store.ts'
import { beginLinking, finishLinking } from '../../src/messaging/linking.ts'
import { newcomersIn } from '../../src/messaging/newcomers.ts'
import { type AccountRow, accountKeys, accountRow, getRow } from '../../src/rows.ts'
import type { Store } from '../../src/store.ts'
import { Life, mortalStore, mortalWorld } from '../mortal.ts'
import { never } from '../world.ts'
import { same } from './ledger.ts'
import { liveFor } from './mortal.ts'
import { Device, MessagingWorld } from './people.ts'
import { still } from './stillness.ts'

/** A process that begins anew waits to be listed, unless it was before. */
async function identityIn(store: Store, world: MessagingWorld): Promise<AccountRow['identity']> {
  const known = await getRow(store, accountRow, accountKeys.account)
  const { identity } = known ?? (await world.over(finishLinking({ store, world: world.world, signal: never })))
  return identity
}

interface Scene {
  readonly world: MessagingWorld
  readonly alice: Device
  readonly bob: Device
  /** In a group with her, and nobody that she knows. */
  readonly carol: Device
  readonly group: ConversationId
}

async function scene(): Promise<Scene> {
  const world = await MessagingWorld.start()
  const [alice, bob, carol] = await world.people('alice', 'bob', 'carol')
  await world.acquaint(alice, bob)
  await world.acquaint(bob, carol)
  const group = await world.group(bob, 'team', alice, carol)
  await alice.say('bob', 'one')
  await bob.say('alice', 'two')
  await carol.say('#team', 'three')
  return { world, alice, bob, carol, group }
}

/** A new device of hers that waits to be listed, and comes online when it is. */
async function linking({ world, alice }: Scene): Promise<{ code: string; phone: () => Device | undefined }> {
  const store = new MemoryStore()
  const code = await beginLinking({ store, world: world.world }, await alice.client.offer())
  let phone: Device | undefined
  const linked = async (): Promise<void> => {
    const { identity } = await finishLinking({ store, world: world.world, signal: never })
    phone = new Device(world, { name: 'alice II', store, identity })
    world.devices.push(phone)
    await phone.comeOnline()
  }
  void linked()
  return { code, phone: () => phone }
}

/** It knows what the others know, is where they are, and has been shown nothing twice. */
async function assertSettled(
  { world, bob, carol, group }: Scene,
  phone: Device | undefined,
  when: string,
): Promise<void> {
  assert.ok(phone, when)
  await bob.say('alice', 'four')
  await carol.say('#team', 'five')
  assert.deepEqual(await phone.texts('bob'), ['one', 'two', 'four'], when)
  assert.deepEqual(await phone.texts('#team'), ['three', 'five'], when)
  const known = await Array.fromAsync(phone.client.conversations())
  assert.deepEqual([...new Set(known.map(({ standing }) => standing))], ['active'], when)
  assert.equal((await phone.client.describe(group))?.title, 'team', when)
  await world.over(phone.client.send('bob', { text: 'six' }, { signal: never }))
  await world.over(phone.client.sendTo(group, { text: 'seven' }, { signal: never }))
  await still()
  assert.deepEqual(bob.heard.slice(-2), ['six', 'seven'], when)
  assert.deepEqual(phone.heard.slice(-2), ['four', 'five'], when)
  assert.equal(new Set(phone.heard).size, phone.heard.length, when)
  assert.equal(phone.kinds('unopened').length + phone.kinds('gap').length, 0, when)
}

describe('I1, K07: a device that is let in has its place everywhere and what was said there, once', () => {
  test('when the one that lets it in is killed between any two steps, and comes back', async () => {
    let steps = 1
    const given = new Set<number>()
    for (let outcome = 'killed'; outcome === 'killed'; steps += stride) {
      const here = await scene()
      await using world = here.world
      const { alice } = here
      const before = saidBy(world, alice)
      const when = `killed after step ${steps}`
      const { code, phone } = await linking(here)
      outcome = await liveFor(steps, world, alice, async ({ client }) => {
        await client.admit(code, { isManager: true, signal: never })
      })
      await alice.comeOnline()
      await world.pass(60_000)
      // what was not begun is begun once more
      if (phone() === undefined) await world.over(alice.client.admit(code, { isManager: true, signal: never }))
      await world.pass(60_000)
      given.add(saidBy(world, alice) - before)
      await assertSettled(here, phone(), when)
      assert.equal(await phone()?.client.manages(), true, when)
      assert.deepEqual(await newcomersIn(alice.store), [], when)
      assert.deepEqual(await newcomersIn(phone()?.store ?? alice.store), [], when)
    }
    assert.equal(given.size, 1, 'nothing is given twice')
    assert.ok(steps > 50, `${steps} steps are not all of them`)
  })

  test('when the one that lets it in is killed between any two steps, and never comes back', async () => {
    let steps = 1
    let listed = 0
    for (let outcome = 'killed'; outcome === 'killed'; steps += stride) {
      const here = await scene()
      await using world = here.world
      const { alice } = here
      const tablet = await world.sibling(alice)
      const { code, phone } = await linking(here)
      outcome = await liveFor(steps, world, alice, async ({ client }) => {
        await client.admit(code, { signal: never })
      })
      await world.pass(10 * 60_000)
      if (phone() === undefined) continue
      listed += 1
      await assertSettled(here, phone(), `killed after step ${steps}`)
      assert.deepEqual(await newcomersIn(tablet.store), [], `killed after step ${steps}`)
    }
    assert.ok(listed > 10, `${listed} times it was listed`)
  })

  test('when it is killed itself between any two steps', async () => {
    let steps = 1
    for (let isWhole = false; !isWhole; steps += stride) {
      const here = await scene()
      await using world = here.world
      const { alice } = here
      const store = new MemoryStore()
      const code = await beginLinking({ store, world: world.world }, await alice.client.offer())
      const admitting = alice.client.admit(code, { signal: never })
      const life = Life.of(steps)
      const outside = mortalWorld(world.world, life)
      const mortal = mortalStore(store, life)
      const living = (async () => {
        const { identity } = await finishLinking({ store: mortal, world: outside, signal: never })
        const first = new Device(world, { name: 'alice II', store: mortal, identity }).anew({
          store: mortal,
          world: outside,
        })
        await first.comeOnline()
        return first
      })()
      living.catch(() => {}) // the dead are waited for by nobody
      for (let seconds = 0; seconds < 60 && !life.isOver; seconds++) await world.pass(1_000)
      isWhole = !life.isOver
      const first = isWhole ? await living : undefined
      await first?.goOffline()
      const identity = await identityIn(store, world)
      const phone = new Device(world, { name: 'alice II', store, identity })
      world.devices.push(phone)
      await phone.comeOnline()
      await world.over(admitting)
      await world.pass(120_000)
      await assertSettled(here, phone, `killed after step ${steps}`)
    }
    assert.ok(steps > 50, `${steps} steps are not all of them`)
  })
})

test('two devices that manage the account let one in each at the same time', async () => {
  const here = await scene()
  await using world = here.world
  const { alice } = here
  const first = await linking(here)
  await world.over(alice.client.admit(first.code, { isManager: true, signal: never }))
  const laptop = first.phone()
  assert.ok(laptop)
  const [second, third] = [await linking(here), await linking(here)]
  const both = [alice.client.admit(second.code, { signal: never }), laptop.client.admit(third.code, { signal: never })]
  await world.over(Promise.all(both))
  await world.pass(10_000)
  for (const phone of [second.phone(), third.phone()]) {
    assert.ok(phone)
    assert.deepEqual(await phone.texts('bob'), ['one', 'two'])
    assert.deepEqual(await phone.texts('#team'), ['three'])
  }
  for (const { store } of world.devices) assert.deepEqual(await newcomersIn(store), [])
})

test('a device that is taken off again before it was brought in is nobody’s errand', async () => {
  const here = await scene()
  await using world = here.world
  const { alice } = here
  const stop = new AbortController()
  const code = await beginLinking({ store: new MemoryStore(), world: world.world }, await alice.client.offer())
  const tell = ({ kind }: { kind: string }): void => void (kind === 'listed' && stop.abort(new Error('interrupted')))
  await assert.rejects(world.over(alice.client.admit(code, { tell, signal: stop.signal })))
  const [admitted] = await newcomersIn(alice.store)
  assert.ok(admitted)
  await world.over(alice.client.dropDevice(admitted.device, { signal: never }))
  await world.pass(60_000)
  assert.deepEqual(await newcomersIn(alice.store), [])
  assert.equal((await alice.client.devices({ signal: never })).devices.length, 1)
})

describe('while one device lets another one in', () => {
  test('the others of the account give nothing: they wait for whether that does', async () => {
    const here = await scene()
    await using world = here.world
    const { alice } = here
    const tablet = await world.sibling(alice)
    const before = saidBy(world, tablet)
    world.server.lie = (name, _body, { device }) =>
      name === 'send' && device !== undefined && same(device, alice.identity.device) ? { kind: 'silence' } : undefined
    const { code, phone } = await linking(here)
    const admitting = alice.client.admit(code, { signal: never })
    await world.pass(60_000)
    world.server.lie = undefined
    for (const session of world.server.sessionsOf(alice.identity.device)) session.cut()
    await world.over(admitting)
    await world.pass(10 * 60_000)
    assert.equal(saidBy(world, tablet), before)
    await assertSettled(here, phone(), 'in the end')
  })

  test('and ends, the key that manages the account comes when it is back, though others have given the rest', async () => {
    const here = await scene()
    await using world = here.world
    const { alice } = here
    const tablet = await world.sibling(alice)
    const { code, phone } = await linking(here)
    const stop = new AbortController()
    const tell = ({ kind }: { kind: string }): void => {
      if (kind === 'listed') stop.abort(new Error('interrupted'))
    }
    await assert.rejects(world.over(alice.client.admit(code, { isManager: true, tell, signal: stop.signal })))
    await alice.goOffline()
    await world.pass(10 * 60_000)
    assert.deepEqual(await newcomersIn(tablet.store), [])
    assert.deepEqual(await phone()?.texts('bob'), ['one', 'two'])
    assert.equal(await phone()?.client.manages(), false)
    await alice.comeOnline()
    await world.pass(60_000)
    assert.equal(await phone()?.client.manages(), true)
  })
})

test('U05: a device that was among the own ones before a restored server forgot it is given nothing once more', async () => {
  const here = await scene()
  await using world = here.world
  const { alice } = here
  const back = world.server.copy()
  const phone = await world.sibling(alice)
  const said = () => saidBy(world, alice) + saidBy(world, phone)
  const before = said()
  back()
  await world.pass(10 * 60_000)
  assert.equal(said(), before)
  for (const { store } of [alice, phone]) assert.deepEqual(await newcomersIn(store), [])
  await alice.say('me', 'a note')
  assert.deepEqual(await phone.texts('me'), ['a note'])
})

/** How many messages of a device the server has accepted, those between devices included. */
function saidBy({ server }: MessagingWorld, { identity }: Device): number {
  return server.log.filter(({ device, request }) => same(device, identity.device) && 'sealed' in request).length
}

/** Every step takes half an hour: STRIDE=1. */
const stride = Number(process.env.STRIDE ?? 9)

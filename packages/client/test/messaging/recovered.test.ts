import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { newWords, type RecoveryWords } from '@messageu/e2ee'
import { MemoryStore } from '../../src/memory-store.ts'
import { recover, register } from '../../src/registering.ts'
import { never, random } from '../world.ts'
import { same } from './ledger.ts'
import { Device, MessagingWorld } from './people.ts'

/** Somebody who has written the words down. */
async function withWords(world: MessagingWorld, name: string): Promise<{ device: Device; words: RecoveryWords }> {
  const [words, store] = [newWords(random), new MemoryStore()]
  const { link } = world.server
  const { identity } = await register({ link, name, words, store, world: world.world, signal: never })
  return { words, device: await online(world, { name, store, identity }) }
}

/** The same account on a new device, which is its only one. */
async function comesBack(world: MessagingWorld, name: string, words: RecoveryWords): Promise<Device> {
  const store = new MemoryStore()
  const { identity } = await recover({ link: world.server.link, words, store, world: world.world, signal: never })
  return online(world, { name, store, identity })
}

async function online(world: MessagingWorld, parts: Pick<Device, 'name' | 'store' | 'identity'>): Promise<Device> {
  const device = new Device(world, parts)
  world.devices.push(device)
  return device.comeOnline()
}

describe('D 3: a device that came back by the words', () => {
  test('takes the place of the one that was lost, by the same commit', async () => {
    await using world = await MessagingWorld.start()
    const alice = await world.person('alice')
    const { words, device: lost } = await withWords(world, 'carol')
    await world.acquaint(alice, lost)
    const { conversation } = await alice.say('carol', 'are you there?')
    await lost.goOffline()
    await alice.goOffline()
    const carol = await comesBack(world, 'carol', words)
    await world.pass(60_000)
    const isInIt = ({ identity }: Device) => world.server.ledger(conversation)?.isOnRoster(identity.device)
    assert.deepEqual([isInIt(carol), isInIt(lost)], [true, false])
    const commits = world.server.log.filter(
      ({ device, request }) => same(device, carol.identity.device) && same(request.conversation, conversation),
    )
    assert.equal(commits.length, 1)
  })

  test('begins anew what nobody else was in, and comes to rest', async () => {
    await using world = await MessagingWorld.start()
    const { words, device: lost } = await withWords(world, 'alice')
    await lost.say('me', 'a note')
    await lost.goOffline()
    const alice = await comesBack(world, 'alice', words)
    await world.pass(60_000)
    const before = world.server.requests.length
    await world.pass(60 * 60_000)
    const asked = world.server.requests.slice(before).map(({ name }) => name)
    assert.deepEqual(
      asked.filter((name) => name !== 'credit'), // by which it says that it is still there
      [],
    )
    await alice.say('me', 'another note')
    assert.deepEqual(await alice.texts('me'), ['another note'])
  })
})

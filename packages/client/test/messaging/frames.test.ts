import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ConversationError } from '@messageu/e2ee/conversation'
import { ProtocolError } from '@messageu/protocol'
import { type DeviceId, type OperationName, RefusedError } from '@messageu/protocol/v3'
import { ClientError } from '../../src/errors.ts'
import type { Reply } from '../fake-server.ts'
import { never, random } from '../world.ts'
import { damageNext } from './interception.ts'
import { same } from './ledger.ts'
import { type Device, MessagingWorld } from './people.ts'
import { flipped } from './spoiling.ts'
import { still } from './stillness.ts'

const asked: readonly OperationName[] = [
  'find',
  'read-list',
  'claim',
  'open',
  'create',
  'commit',
  'send',
  'read-state',
  'read-tree',
  'publish',
  'count-packages',
  'judge',
  'explain',
  'conversations',
  'recreate',
  'stuck',
  'credit',
  'acknowledge',
  'requests',
]

/** Everything that a new pair and a new group ask of a server. */
async function everything(alice: Device): Promise<void> {
  await alice.client.send('bob', { text: 'one' }, { signal: never })
  const { conversation } = await alice.client.createGroup('team', ['bob'], { signal: never })
  await alice.client.sendTo(conversation, { text: 'two' }, { signal: never })
  await alice.client.requests({ signal: never })
  await alice.client.judge('bob', 'accept', { signal: never })
}

function isForeseen(error: unknown): boolean {
  return error instanceof ClientError || error instanceof ProtocolError || error instanceof ConversationError
}

const lies: Record<string, () => Reply> = {
  'bytes that are no answer': () => ({ kind: 'answer', body: random(50) }),
  'an answer with more behind it': () => ({ kind: 'answer', body: new Uint8Array(100_000) }),
  'a frame that is none': () => ({ kind: 'frames', bytes: random(20) }),
  'a refusal with control characters': () => ({
    kind: 'refuse',
    error: new RefusedError('not-permitted', '\u001b[2J\u0000\u202e gone'),
  }),
}

describe('S13: a server that answers wrongly, once', () => {
  for (const [what, lie] of Object.entries(lies))
    test(`with ${what}: the user hears of an error or of nothing, and goes on when it answers well`, async () => {
      for (const name of asked) {
        await using world = await MessagingWorld.start()
        const [alice, bob] = await world.people('alice', 'bob')
        await world.acquaint(alice, bob)
        let isTold = false
        world.server.lie = (operation, _body, { device }) => {
          if (isTold || operation !== name || device === undefined || !same(device, alice.identity.device))
            return undefined
          isTold = true
          return lie()
        }
        const ended = await world.over(
          everything(alice).then(
            () => undefined,
            (error: unknown) => error,
          ),
        )
        assert.ok(ended === undefined || isForeseen(ended), `${name}: ${String(ended)}`)
        world.server.lie = undefined
        await alice.goOffline()
        await alice.comeOnline()
        await alice.say('bob', 'after')
        assert.equal(bob.heard.at(-1), 'after', name)
      }
    })
})

describe('S13: deliveries that are none', () => {
  test('of every kind, into known and unknown conversations: shown as what they are or not at all', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const { conversation, sequence } = await alice.say('bob', 'one')
    let next = sequence
    for (const kind of ['application', 'commit', 'welcome'] as const)
      for (const sealed of [new Uint8Array(), random(1), random(100), new Uint8Array(70_000)]) {
        next += 1
        world.server.slip(bob.identity.device, { conversation, kind, sealed, sequence: next, generation: 1 })
        world.server.slip(bob.identity.device, { kind, sealed, sequence: next, generation: 1 })
        world.server.slip(bob.identity.device, { conversation, kind, sealed, sequence: next, generation: 9 })
      }
    await world.pass(180_000)
    assert.deepEqual(bob.heard, ['one'])
    const group = await world.group(alice, 'team', bob)
    await alice.sayTo(group, 'two')
    assert.deepEqual(bob.heard, ['one', 'two'])
    assert.deepEqual(bob.ends, [])
  })

  test('at a place beyond every history: it ends nothing, and what follows is shown', async () => {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    const { conversation } = await alice.say('bob', 'one')
    for (const sequence of [2 ** 32, 2 ** 40, Number.MAX_SAFE_INTEGER])
      world.server.slip(bob.identity.device, { conversation, generation: 1, sequence, sealed: random(300) })
    await still()
    const group = await world.group(alice, 'team', bob)
    await alice.sayTo(group, 'two')
    assert.deepEqual(bob.heard, ['one', 'two'])
    assert.deepEqual(bob.ends, [])
  })
})

describe('S18: messages that cannot be opened', () => {
  /** What a device asks of the server after it was given something, apart from what every delivery makes it ask. */
  async function asksAfter(damage: (sealed: Uint8Array) => Uint8Array): Promise<readonly string[]> {
    await using world = await MessagingWorld.start()
    const [alice, bob] = await world.people('alice', 'bob')
    await world.acquaint(alice, bob)
    await alice.say('bob', 'one')
    const asks: string[] = []
    const device: DeviceId = bob.identity.device
    damageNext(world.server, device, damage)
    world.server.lie = (name, _body, session) => {
      if (session.device !== undefined && same(session.device, device)) asks.push(name)
      return undefined
    }
    await alice.say('bob', 'two')
    await world.pass(60_000)
    assert.deepEqual(bob.heard, ['one', 'two'], 'its author has given it again')
    assert.equal(bob.kinds('unopened').length, 1)
    return asks
  }

  test('look the same from outside, wherever they are damaged', async () => {
    const last = await asksAfter((sealed) => flipped(sealed))
    const middle = await asksAfter((sealed) => flipped(sealed, sealed.length - 40))
    assert.deepEqual(middle, last)
  })
})

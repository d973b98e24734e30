import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, encode } from '@messageu/protocol'
import { Hash, limits, SendId } from '@messageu/protocol/v3'
import { decodeGroupState, encodeMlsMessage } from 'ts-mls'
import { protectApplicationData } from 'ts-mls/messageProtection.js'
import { cryptoOf } from '../../src/conversation/algorithms.ts'
import { author } from '../../src/conversation/authored.ts'
import { Authored, type Header } from '../../src/conversation/authored-bytes.ts'
import { encodeContent } from '../../src/conversation/content.ts'
import { noPadding, presentEpoch } from '../../src/conversation/epochs.ts'
import { type ConversationState, exportSecret, open, seal } from '../../src/conversation/index.ts'
import { pad } from '../../src/conversation/padding.ts'
import { moved, type Ratchet, Ratchets, ratchetOf } from '../../src/conversation/ratchets.ts'
import { ratchetAt, secretTreeOf } from '../../src/conversation/secrettree.ts'
import { SendNote } from '../../src/conversation/shared.ts'
import { readGroup } from '../../src/conversation/state.ts'
import { toHex } from '../hex.ts'
import { newest, now, Room, type TestDevice, World } from './world.ts'

async function trio(label: string, suite: 'x25519' | 'x-wing' = 'x25519') {
  const world = new World(label)
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const room = await Room.of(world, alice.phone, [bob.phone, carol.phone], { suite })
  return { world, room, alice: alice.phone, bob: bob.phone, carol: carol.phone }
}

const update = { kind: 'update' } as const

describe('a message', () => {
  test('tells its sender, also from up to three epochs before', async () => {
    const { room, alice, bob, carol } = await trio('senders')
    const sent: { from: TestDevice; sealed: Uint8Array; epoch: number }[] = []
    for (let epoch = 1; epoch <= 4; epoch++) {
      for (const from of [alice, carol]) sent.push({ from, sealed: await room.say(from, `from ${epoch}`), epoch })
      if (epoch < 4) await room.commit(bob, update)
    }
    for (const { from, sealed, epoch } of sent.toReversed()) {
      const opened = await room.open(bob, sealed)
      assert.ok(opened.kind === 'opened', JSON.stringify(opened))
      const { account, device } = from.self
      assert.deepEqual(opened.message.sender, { account, device })
      assert.equal(opened.message.epoch, epoch)
      assert.deepEqual(opened.message.content, { kind: 'text', body: { text: `from ${epoch}` } })
      assert.equal(opened.message.isForked, false)
    }
  })

  test('of four epochs before is gone, and one of an epoch to come is early', async () => {
    const { room, alice, bob } = await trio('epochs')
    const old = await room.say(alice, 'old')
    for (let i = 0; i < 4; i++) await room.commit(bob, update)
    assert.equal(await room.read(bob, old), '[gone]')
    const behind = room.state(bob)
    await room.commit(alice, update)
    const opened = await open(behind, await room.say(alice, 'new'))
    assert.ok(opened.kind === 'unopened')
    assert.equal(opened.reason, 'early')
  })

  test('carries its id, number, clock, list, place in the sequence and the epoch before', async () => {
    const { room, alice, bob } = await trio('header')
    await room.commit(bob, update)
    const writing = room.writing(alice)
    const { sealed } = await seal(room.state(alice), alice.self, { kind: 'text', body: { text: 'hi' } }, writing)
    const opened = await room.open(bob, sealed)
    assert.ok(opened.kind === 'opened')
    const { header, number } = opened.message
    assert.deepEqual(header.id, writing.id)
    assert.equal(number, writing.number)
    assert.equal(header.clock, now)
    assert.deepEqual(header.device, alice.self.device)
    assert.deepEqual(header.list, { version: 1, hash: newest(alice.owner).hash })
    assert.deepEqual(header.seen, writing.seen)
    assert.equal(header.previous?.length, 32)
  })

  test('is as long as others of its size class, and never longer than a message may be', async () => {
    const { room, alice } = await trio('sizes')
    const sizes = []
    for (const length of [0, 1, 100, 3000, 3400, 10_000, 200_000])
      sizes.push((await room.say(alice, 'x'.repeat(length))).length)
    const [empty, one, hundred, , , tenThousand, longest] = sizes
    assert.equal(empty, one)
    assert.equal(one, hundred)
    assert.ok((tenThousand ?? 0) < 10_000 * 1.13 + 600)
    assert.ok((longest ?? 0) <= limits.sealedBytesMax)
    await assert.rejects(room.say(alice, 'x'.repeat(200_001)), { reason: 'malformed' })
  })

  test('of a kind that a newer version has is kept as it is', async () => {
    const { room, alice, bob } = await trio('unknown')
    const content = { kind: 'unknown', body: { code: 999, bytes: Uint8Array.of(1, 2, 3) } } as const
    const opened = await room.open(bob, await room.send(alice, content))
    assert.ok(opened.kind === 'opened')
    assert.deepEqual(opened.message.content, content)
  })

  test('that this device sealed is told apart', async () => {
    const { room, alice } = await trio('own')
    assert.equal(await room.read(alice, await room.say(alice, 'to myself')), '[own]')
  })

  test('with X-Wing is sealed and opened as with suite 1', async () => {
    const { room, alice, bob, carol } = await trio('x-wing', 'x-wing')
    await room.commit(bob, update)
    await room.rejoin(carol)
    const view = room.agreed()
    assert.equal(view.suite, 'x-wing')
    assert.equal(await room.read(carol, await room.say(alice, 'later')), 'later')
  })
})

describe('S03: what is replayed is shown zero more times', () => {
  test('in its own epoch and in later ones', async () => {
    const { room, alice, bob } = await trio('replay')
    const sealed = await room.say(alice, 'once')
    assert.equal(await room.read(bob, sealed), 'once')
    for (let i = 0; i < 3; i++) {
      assert.equal(await room.read(bob, sealed), '[repeated]')
      await room.commit(alice, update)
    }
    assert.equal(await room.read(bob, sealed), '[repeated]')
  })

  test('into another conversation or generation', async () => {
    const { world, room, alice, bob } = await trio('elsewhere')
    const sealed = await room.say(alice, 'here')
    const other = await Room.of(world, alice, [bob])
    assert.equal(await other.read(bob, sealed), '[malformed]')
  })
})

describe('S04: messages that arrive out of order', () => {
  test('are opened in any order within the window', async () => {
    const { room, alice, bob } = await trio('shuffled')
    const sealed: Uint8Array[] = []
    for (let i = 0; i < 100; i++) sealed.push(await room.say(alice, `${i}`))
    const order = Array.from(sealed.keys()).toSorted((one, other) => ((one * 37) % 101) - ((other * 37) % 101))
    const heard = []
    for (const i of order) heard.push(await room.read(bob, sealed[i] ?? new Uint8Array()))
    assert.deepEqual(heard, order.map(String))
  })

  test('are opened after 250 of the same sender were lost, and the lost ones when they come after all', async () => {
    const { room, alice, bob } = await trio('lost')
    const lost: Uint8Array[] = []
    for (let i = 0; i < 250; i++) lost.push(await room.say(alice, `lost ${i}`))
    assert.equal(await room.read(bob, await room.say(alice, 'after')), 'after')
    assert.equal(await room.read(bob, lost[0] ?? new Uint8Array()), 'lost 0')
    assert.equal(await room.read(bob, lost[249] ?? new Uint8Array()), 'lost 249')
    assert.equal(await room.read(bob, lost[249] ?? new Uint8Array()), '[repeated]')
  })

  test('are refused beyond the window, and a new epoch makes the conversation usable again', async () => {
    const { room, alice, bob } = await trio('far')
    room.seats.set(alice, aheadBy(4001, room.state(alice)))
    assert.equal(await room.read(bob, await room.say(alice, 'far')), '[far]')
    await room.commit(bob, update)
    assert.equal(await room.read(bob, await room.say(alice, 'near')), 'near')
  })
})

describe('a message that is not what it says', () => {
  test('is not opened when a byte of it was changed, and the true one still is', async () => {
    const { room, alice, bob } = await trio('altered')
    const sealed = await room.say(alice, 'true')
    for (let at = 0; at < sealed.length; at += 17) {
      const opened = await open(room.state(bob), sealed.with(at, (sealed[at] ?? 0) ^ 0x40))
      assert.equal(opened.kind, 'unopened')
      assert.deepEqual(opened.state, room.state(bob))
    }
    assert.equal(await room.read(bob, sealed), 'true')
  })

  test('S16: is not attributed when another signed it, or its header tells another story than its outside', async () => {
    const { room, alice, bob, carol } = await trio('misattributed')
    const lies: Record<string, (header: Header) => Header> = {
      device: (header) => ({ ...header, device: carol.self.device }),
      id: (header) => ({ ...header, id: decode(SendId, new Uint8Array(16)) }),
      generation: (header) => ({ ...header, group: { ...header.group, generation: 2 } }),
    }
    for (const [name, lie] of Object.entries(lies)) {
      const sealed = await sealLying(room, alice, { lie })
      assert.equal(await room.read(bob, sealed), '[misattributed]', name)
      assert.equal(await room.read(bob, sealed), '[repeated]', 'its key is used up')
    }
    assert.equal(await room.read(bob, await sealLying(room, alice, { signer: carol })), '[misattributed]')
    const outside = (note: SendNote): SendNote => ({ ...note, group: { ...note.group, generation: 2 } })
    assert.equal(await room.read(bob, await sealLying(room, alice, { outside })), '[misattributed]')
    assert.equal(await room.read(bob, await sealLying(room, alice, {})), 'said')
  })

  test('S06: is shown with an alarm when its sender remembers another epoch before this one', async () => {
    const { room, alice, bob } = await trio('other past')
    await room.commit(bob, update)
    const previous = decode(Hash, new Uint8Array(32))
    const opened = await room.open(bob, await sealLying(room, alice, { lie: (header) => ({ ...header, previous }) }))
    assert.ok(opened.kind === 'opened')
    assert.equal(opened.message.isForked, true)
  })

  test('is unreadable when what is inside is no message', async () => {
    const { room, alice, bob } = await trio('unreadable')
    assert.equal(await room.read(bob, await sealLying(room, alice, { inside: new Uint8Array(256) })), '[unreadable]')
  })
})

test('S06: two halves that were given different commits do not read each other, and notice it', async () => {
  const { room, alice, bob, carol } = await trio('fork')
  const [one, other] = [await room.stage(alice, update), await room.stage(carol, update)]
  const stateOfCarol = room.state(carol)
  assert.equal((await room.deliver(alice, alice, one)).kind, 'applied')
  assert.equal((await room.deliver(bob, alice, one)).kind, 'applied')
  room.seats.set(carol, stateOfCarol)
  assert.equal((await room.deliver(carol, carol, other)).kind, 'applied')

  assert.notDeepEqual(room.view(alice).authenticator, room.view(carol).authenticator)
  assert.equal(await room.read(alice, await room.say(carol, 'from the other half')), '[unopenable]')
  assert.equal((await room.deliver(alice, carol, other)).kind, 'fork')
  assert.equal((await room.deliver(carol, alice, one)).kind, 'fork')

  room.show(one)
  await room.rejoin(carol)
  assert.equal(await room.read(alice, await room.say(carol, 'together again')), 'together again')
})

describe('S14: a device whose state is set back', () => {
  test('uses a key twice, and nobody shows the second message', async () => {
    const { room, alice, bob } = await trio('rollback')
    const before = room.state(alice)
    assert.equal(await room.read(bob, await room.say(alice, 'first')), 'first')
    room.seats.set(alice, before)
    assert.equal(await room.read(bob, await room.say(alice, 'second')), '[repeated]')
  })

  test('or copied sees a commit of its own that it did not make, stops, and rejoins', async () => {
    const { room, alice, bob } = await trio('clone')
    const copy = room.state(alice)
    const staged = await room.commit(alice, update)
    room.seats.set(alice, copy)
    const applied = await room.deliver(alice, alice, { ...staged, pending: (await room.stage(alice, update)).pending })
    assert.ok(applied.kind === 'stuck')
    assert.equal(applied.reason, 'superseded')
    await room.rejoin(alice)
    room.agreed()
    assert.equal(await room.read(bob, await room.say(alice, 'back')), 'back')
  })

  test('never seals with keys that were wiped', async () => {
    const { room, alice } = await trio('wiped')
    const state = room.state(alice)
    const ratchets = decode(Ratchets, state.ratchets)
    const senders = ratchets.senders.map((sender) => ({ ...sender, secret: new Uint8Array(sender.secret.length) }))
    room.seats.set(alice, { ...state, ratchets: encode(Ratchets, { ...ratchets, senders }) })
    await assert.rejects(room.say(alice, 'under a key of zeros'), { reason: 'spent' })
  })
})

describe('the state', () => {
  test('of an opened message changes its message keys only, and one of 200 devices stays below 16 KiB', async () => {
    const { room, alice, bob } = await trio('parts')
    const before = room.state(bob)
    await room.read(bob, await room.say(alice, 'hello'))
    const after = room.state(bob)
    assert.equal(after.group, before.group)
    assert.equal(after.earlier, before.earlier)
    assert.notDeepEqual(after.ratchets, before.ratchets)
    const { epoch, senders } = decode(Ratchets, after.ratchets)
    const [sender] = senders
    assert.ok(sender)
    const many = { epoch, senders: Array.from({ length: 200 }, (_, leaf) => ({ ...sender, leaf })) }
    assert.ok(encode(Ratchets, many).length <= 16 * 1024)
  })

  test('has no key any more that opens what was opened', async () => {
    const { room, alice, bob } = await trio('forward')
    const { secret } = ownRatchet(room.state(alice))
    assert.ok(contains(room.state(bob).ratchets, secret), 'what opens it is there before')
    assert.equal(await room.read(bob, await room.say(alice, 'said')), 'said')
    const { group, ratchets, earlier } = room.state(bob)
    for (const part of [group, ratchets, earlier]) assert.equal(contains(part, secret), false)
  })

  test('has no private key of a node that has become blank', async () => {
    const { room, alice, bob, carol } = await trio('blank')
    await room.commit(carol, update)
    const nodesOf = () => {
      const { mls } = readGroup(room.state(alice))
      const [state] = decodeGroupState(mls, 0) ?? []
      assert.ok(state)
      return { held: Object.keys(state.privatePath.privateKeys).map(Number), tree: state.ratchetTree }
    }
    assert.ok(nodesOf().held.length > 1, 'there are keys of parents')
    await room.commit(alice, { kind: 'remove', devices: [carol.self.device] })
    await room.add(alice, [carol])
    await room.commit(alice, { kind: 'remove', devices: [bob.self.device] })
    const { held, tree } = nodesOf()
    assert.ok(held.every((node) => tree[node] !== undefined))
  })

  test('of another engine is not read', async () => {
    const { room, alice } = await trio('engine')
    room.seats.set(alice, { ...room.state(alice), engine: 'ts-mls 2.0.0' })
    await assert.rejects(room.say(alice, 'hello'), { reason: 'other-engine' })
  })

  test('gives the same secret to all members for the same label, and another for another', async () => {
    const { room, alice, bob } = await trio('exporter')
    const asked = { context: new Uint8Array(), bytes: 32 }
    const secret = await exportSecret(room.state(alice), 'typing', asked)
    assert.deepEqual(await exportSecret(room.state(bob), 'typing', asked), secret)
    assert.notDeepEqual(await exportSecret(room.state(bob), 'other', asked), secret)
    await room.commit(alice, update)
    assert.notDeepEqual(await exportSecret(room.state(bob), 'typing', asked), secret)
  })
})

/** Seals past our own checks: with another signer, another header, or something else inside. */
async function sealLying(
  room: Room,
  from: TestDevice,
  {
    lie = (header) => header,
    signer = from,
    outside = (note) => note,
    inside,
  }: {
    lie?: (header: Header) => Header
    signer?: TestDevice
    outside?: (note: SendNote) => SendNote
    inside?: Uint8Array
  },
): Promise<Uint8Array> {
  const state = room.state(from)
  const epoch = presentEpoch(readGroup(state))
  const { id, number, clock, list, seen } = room.writing(from)
  const { version, hash } = list
  const honest: Header = {
    id,
    device: from.self.device,
    clock,
    group: epoch.id,
    list: { version, hash },
    seen,
    previous: undefined,
  }
  const content = encodeContent({ kind: 'text', body: { text: 'said' } })
  const authored = await author({ header: lie(honest), content }, signer.self.requestKey)
  const own = ownRatchet(state)
  const { privateMessage, newSecretTree } = await protectApplicationData(
    from.self.signatureSeed.reveal(),
    epoch.senderData,
    inside ?? pad(encode(Authored, authored)),
    encode(SendNote, outside({ group: epoch.id, id, number })),
    epoch.context,
    secretTreeOf(own),
    own.leaf,
    noPadding,
    await cryptoOf(state.suite),
  )
  const next = moved(decode(Ratchets, state.ratchets), ratchetAt(newSecretTree, own.leaf))
  room.seats.set(from, { ...state, ratchets: encode(Ratchets, next) })
  return encodeMlsMessage({ version: 'mls10', wireformat: 'mls_private_message', privateMessage })
}

function ownRatchet(state: ConversationState): Ratchet {
  const ratchet = ratchetOf(decode(Ratchets, state.ratchets), readGroup(state).own)
  assert.ok(ratchet)
  return ratchet
}

/** A state that has sealed so many more messages, as far as the number of the next one tells. */
function aheadBy(messages: number, state: ConversationState): ConversationState {
  const own = ownRatchet(state)
  const next = moved(decode(Ratchets, state.ratchets), { ...own, generation: own.generation + messages })
  return { ...state, ratchets: encode(Ratchets, next) }
}

function contains(bytes: Uint8Array, part: Uint8Array): boolean {
  return toHex(bytes).includes(toHex(part))
}

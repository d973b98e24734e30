import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decode, encode, ProtocolError } from '@messageu/protocol'
import { Authored, Message } from '../../src/conversation/authored-bytes.ts'
import { decodeContent, encodeContent } from '../../src/conversation/content.ts'
import { ConversationError } from '../../src/conversation/errors.ts'
import {
  readCommit,
  readGroupInfo,
  readKeyPackage,
  readPrivateMessage,
  readWelcome,
} from '../../src/conversation/handshakes.ts'
import { applyCommit, joinFromWelcome, open, stageRejoin, verifyAuthorship } from '../../src/conversation/index.ts'
import { judgeKeyPackage } from '../../src/conversation/offeredpackages.ts'
import { pad, unpad } from '../../src/conversation/padding.ts'
import { CommitNote, ConversationRules, LeafIdentity, SendNote, Standings } from '../../src/conversation/shared.ts'
import { readTree } from '../../src/conversation/tree.ts'
import type { RandomBytes } from '../../src/secret.ts'
import { dice } from './dice.ts'
import { newest, now, packageOf, Room, World } from './world.ts'

// Bytes of a peer: whatever they are, the answer is a value or a refusal of ours, and it comes.

/** Endless bytes: some made up, most of them one of `models` with something changed, cut off, doubled or put in. */
function* inputs(label: string, models: readonly Uint8Array[]): Generator<Uint8Array> {
  const roll = dice(label)
  const random: RandomBytes = (count) => Uint8Array.from({ length: count }, () => roll(256))
  for (;;) {
    const model = models[roll(models.length + 1)]
    if (model === undefined) {
      yield random(roll(200))
      continue
    }
    const at = roll(model.length)
    const kinds = [
      () => model.with(at, roll(256)),
      () => model.with(at, (model[at] ?? 0) ^ (1 << roll(8))),
      () => model.slice(0, at),
      () => Uint8Array.of(...model, ...random(1 + roll(3))),
      () => Uint8Array.of(...model.slice(0, at), ...random(1 + roll(4)), ...model.slice(at)),
      () => Uint8Array.of(...model.slice(0, at), ...model.slice(at + 1 + roll(8))),
      () => Uint8Array.of(...model.slice(0, at), 0xff, 0xff, 0xff, 0xff, ...model.slice(at + 4)),
    ]
    yield kinds[roll(kinds.length)]?.() ?? model
  }
}

async function samples() {
  const world = new World('fuzz')
  const [alice, bob, carol] = [await world.person('alice'), await world.person('bob'), await world.person('carol')]
  const room = await Room.of(world, alice.phone, [bob.phone])
  await room.commit(alice.phone, { kind: 'update' })
  const { keyPackage } = await packageOf(carol.phone, 'x25519')
  const staged = await room.stage(alice.phone, { kind: 'add', keyPackages: [keyPackage] })
  const update = await room.stage(alice.phone, { kind: 'update' })
  const removal = await room.stage(alice.phone, { kind: 'remove', devices: [bob.phone.self.device] })
  const rejoin = await room.stageRejoin(bob.phone)
  assert.ok(rejoin.kind === 'staged' && staged.welcomes[0])
  const commits = [staged, update, removal, rejoin].map(({ commit }) => commit)
  const sealed = await room.say(alice.phone, 'hello')
  return { world, room, alice, bob, carol, staged, commits, sealed, keyPackage, welcome: staged.welcomes[0].welcome }
}

const some = await samples()

describe('any bytes are refused or are what they say', () => {
  const identity = { device: some.bob.phone.self.device, list: newest(some.bob) }
  const readers: Record<string, { read: (bytes: Uint8Array) => unknown; models: readonly Uint8Array[] }> = {
    'a commit': { read: readCommit, models: some.commits },
    'a Welcome': { read: readWelcome, models: [some.welcome] },
    'a GroupInfo': { read: readGroupInfo, models: [some.staged.groupInfo] },
    'a key package': { read: readKeyPackage, models: [some.keyPackage] },
    'a sealed message': { read: readPrivateMessage, models: [some.sealed] },
    'a tree': { read: readTree, models: [some.staged.tree, some.room.shown.tree] },
  }
  for (const [name, { read, models }] of Object.entries(readers))
    test(`as ${name}, however they were changed`, () => {
      let taken = 0
      const source = inputs(name, models)
      for (let i = 0; i < 3000; i++) {
        const { value } = source.next()
        assert.ok(value instanceof Uint8Array)
        try {
          read(value)
          taken++
        } catch (error) {
          assert.ok(error instanceof Error)
        }
      }
      for (const model of models) assert.ok(read(model))
      assert.ok(taken < 3000, 'some of it was refused')
    })

  const own: Record<string, { check: (bytes: Uint8Array) => void; models: readonly Uint8Array[] }> = {
    'a note of a commit': roundTrip(
      CommitNote,
      some.commits.map((commit) => encode(CommitNote, readCommit(commit).note)),
    ),
    'a note of a message': roundTrip(SendNote, [readPrivateMessage(some.sealed).authenticatedData]),
    rules: roundTrip(ConversationRules, [
      encode(ConversationRules, { kind: 'group', owners: [some.alice.account.id], invited: [] }),
    ]),
    standings: roundTrip(Standings, [encode(Standings, [{ ...identity.list, since: 0 }])]),
    'an identity': roundTrip(LeafIdentity, [encode(LeafIdentity, identity)]),
    'an authored message': roundTrip(Authored, []),
    'a message': roundTrip(Message, []),
    content: {
      check: (bytes) => assert.deepEqual(encodeContent(decodeContent(bytes)), bytes),
      models: [encodeContent({ kind: 'text', body: { text: 'hello' } })],
    },
    'something padded': {
      check: (bytes) => assert.deepEqual(pad(unpad(bytes)), bytes),
      models: [pad(new Uint8Array(100).fill(1))],
    },
  }
  for (const [name, { check, models }] of Object.entries(own))
    test(`as ${name}, and what is taken is written in the same bytes again`, () => {
      const source = inputs(name, models)
      for (let i = 0; i < 3000; i++) {
        const { value } = source.next()
        assert.ok(value instanceof Uint8Array)
        try {
          check(value)
        } catch (error) {
          assert.ok(error instanceof ProtocolError, String(error))
        }
      }
      for (const model of models) check(model)
    })
})

describe('any bytes in the place of', () => {
  const { room, world, bob, carol, staged } = some
  const { lists } = world
  const state = room.state(bob.phone)

  test('a commit leave the state as it is', async () => {
    const arrived = room.arrived(some.alice.phone, staged)
    await forEach('commits', some.commits, 700, async (commit) => {
      const applied = await applyCommit(state, { ...arrived, commit }, { lists })
      assert.ok(['stuck', 'needs', 'early', 'fork', 'passed'].includes(applied.kind), applied.kind)
    })
  })

  test('a sealed message open nothing', () =>
    forEach('messages', [some.sealed], 2000, async (sealed) => {
      const opened = await open(state, sealed)
      assert.equal(opened.kind, 'unopened')
    }))

  test('a Welcome or its tree let nobody in', async () => {
    const arrived = { ...room.id, sender: some.alice.phone.self.device, welcome: some.welcome, tree: staged.tree }
    const memory = { packages: carol.phone.packages, isHeld: false, wasSeen: () => false }
    const refused = async (changed: Partial<typeof arrived>) => {
      const joined = await joinFromWelcome(carol.phone.self, { ...arrived, ...changed }, { lists, memory })
      assert.notEqual(joined.kind, 'joined')
    }
    await forEach('welcomes', [some.welcome], 300, (welcome) => refused({ welcome }))
    await forEach('trees', [staged.tree], 300, (tree) => refused({ tree }))
  })

  test('a GroupInfo or its tree let nobody rejoin', async () => {
    const shown = { ...room.id, ...room.shown }
    const refused = async (changed: Partial<typeof shown>) => {
      const options = { ...world.sending(bob.phone), list: newest(bob), lists, newestEpoch: 0 }
      const rejoined = await stageRejoin(bob.phone.self, { ...shown, ...changed }, options)
      assert.notEqual(rejoined.kind, 'staged')
    }
    await forEach('infos', [shown.groupInfo], 200, (groupInfo) => refused({ groupInfo }))
    await forEach('shown trees', [shown.tree], 200, (tree) => refused({ tree }))
  })

  test('a key package or a proof are refused with a reason', async () => {
    const wanted = { lists: world.newestLists, suite: 'x25519', now } as const
    await forEach('packages', [some.keyPackage], 500, (bytes) => refusedWithReason(judgeKeyPackage(bytes, wanted)))
    await forEach('proofs', [], 500, (bytes) => refusedWithReason(verifyAuthorship(bytes)))
  })
})

function roundTrip<T>(codec: Parameters<typeof decode<T>>[0], models: readonly Uint8Array[]) {
  return {
    check: (bytes: Uint8Array) => assert.deepEqual(encode(codec, decode(codec, bytes)), bytes),
    models,
  }
}

/** So many inputs that differ from every model. */
async function forEach(
  label: string,
  models: readonly Uint8Array[],
  count: number,
  body: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const source = inputs(label, models)
  for (let i = 0; i < count; i++) {
    const { value } = source.next()
    assert.ok(value instanceof Uint8Array)
    if (!models.some((model) => model.join() === value.join())) await body(value)
  }
}

async function refusedWithReason(work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => error instanceof ConversationError)
}

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ConversationId, limits } from '@messageu/protocol/v3'
import type { Archive } from '../../src/archive.ts'
import { boxOf } from '../../src/v3/boxes.ts'
import { ConversationsWorld, type Phone, refusal, settled, until } from './conversationsworld.ts'

interface Setting extends AsyncDisposable {
  readonly world: ConversationsWorld
  readonly alice: Phone
  readonly bob: Phone
  readonly tablet: Phone
  readonly conversation: ConversationId
}

/** Alice, and Bob with two devices, in a group; nobody has a session. */
async function start(kind: string): Promise<Setting> {
  const world = await ConversationsWorld.start(kind)
  const [[alice], [bob, tablet]] = [world.person('alice'), world.person('bob', 2)] as [[Phone], [Phone, Phone]]
  const conversation = await world.group(alice, bob, tablet)
  return { world, alice, bob, tablet, conversation, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() }
}

/** Until the session of a device has got everything. */
const live = ({ world }: Setting, { device }: Phone): Promise<void> =>
  until(() => world.open.deliveries.isLive(device.number))

/** Of the newest session of a device. */
const caughtUp = ({ line }: Phone): number => line.caughtUp

/** A device has got and acknowledged everything. */
async function catchUp(setting: Setting, ...phones: Phone[]): Promise<void> {
  for (const phone of phones) {
    await phone.connect()
    await live(setting, phone)
    await phone.acknowledge()
  }
}

/** A trimming that has begun, and waits for what devices have acknowledged until it may go on. */
async function heldTrimming(world: ConversationsWorld): Promise<{ trimming: Promise<void>; goOn: () => void }> {
  const { archive } = world
  const acknowledged = archive.acknowledged.bind(archive)
  const { promise, resolve } = Promise.withResolvers<void>()
  archive.acknowledged = async (device) => {
    await promise
    return acknowledged(device)
  }
  const trimming = world.trim()
  await settled()
  return { trimming, goOn: resolve }
}

/** The archive, which finds what is stored at some positions damaged. */
function damage(archive: Archive, positions: ReadonlySet<number>): void {
  const read = archive.read.bind(archive)
  archive.read = async (waiting) => {
    const found = await read(waiting)
    return found.map((message, i) => (positions.has(waiting[i]?.position ?? 0) ? undefined : message))
  }
}

for (const kind of ['memory', 'sqlite'])
  describe(`deliveries on ${kind}`, () => {
    test('a session is told once that everything that waited is here, and not before', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      for (let i = 0; i < 3; i++) await alice.say(conversation, `${i}`)
      await bob.connect({ messages: 2, bytes: 1000 })
      await until(() => bob.line.heard.length === 2)
      await settled()
      assert.deepEqual(caughtUp(bob), 0)
      await bob.ask('credit', { messages: 10, bytes: 1000 })
      await until(() => caughtUp(bob) === 1)
      assert.deepEqual(bob.line.texts, ['0', '1', '2'])
      await alice.say(conversation, '3')
      await until(() => bob.line.texts.length === 4)
      await settled()
      assert.equal(caughtUp(bob), 1)
    })

    test('where nothing waits, a session is told so as soon as it has credit', async () => {
      await using setting = await start(kind)
      const { bob } = setting
      await catchUp(setting, bob)
      await bob.connect({ messages: 0, bytes: 0 })
      await live(setting, bob)
      assert.equal(caughtUp(bob), 0)
      await bob.ask('credit', { messages: 1, bytes: 1 })
      await until(() => caughtUp(bob) === 1)
    })

    test('what was sent while a device was away comes when it returns, in order, over all its conversations', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, conversation } = setting
      const other = await world.group(alice, bob)
      for (let i = 0; i < 6; i++) await alice.say(i % 2 === 0 ? conversation : other, `${i}`)
      await world.restart()
      await bob.connect()
      await until(() => bob.line.texts.length === 6)
      assert.deepEqual(bob.line.texts, ['0', '1', '2', '3', '4', '5'])
      const positions = bob.line.heard.map(({ position }) => position)
      assert.deepEqual(
        positions,
        positions.toSorted((one, other) => one - other),
      )
      assert.deepEqual(bob.line.heard.at(-1)?.conversation, other)
    })

    test('a session that has everything gets what comes at once, as the same bytes as all others', async () => {
      await using setting = await start(kind)
      const { alice, bob, tablet, conversation } = setting
      for (const phone of [bob, tablet]) {
        await phone.connect()
        await live(setting, phone)
      }
      let reads = 0
      const { archive } = setting.world
      const read = archive.read.bind(archive)
      archive.read = (waiting) => {
        reads += 1
        return read(waiting)
      }
      const { position, sequence } = await alice.say(conversation, 'hello')
      assert.deepEqual(bob.line.texts, ['hello'])
      assert.equal(reads, 0)
      const heard = bob.line.heard.at(-1)
      assert.deepEqual([heard?.position, heard?.sequence, heard?.generation], [position, sequence, 1])
      assert.deepEqual(heard?.conversation, conversation)
      assert.equal(heard?.at, setting.world.wallMs)
      assert.equal(bob.line.frames.at(-1)?.buffer, tablet.line.frames.at(-1)?.buffer)
    })

    test('what is pushed and what is read back are the same', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      await bob.connect()
      await live(setting, bob)
      await alice.say(conversation, 'hello')
      await alice.commit(conversation, [alice, bob])
      const pushed = bob.line.heard
      await bob.connect()
      await live(setting, bob)
      assert.deepEqual(bob.line.heard, pushed)
    })

    test('own messages do not come back, own commits do, and siblings get both', async () => {
      await using setting = await start(kind)
      const { bob, tablet, conversation } = setting
      await bob.connect()
      await live(setting, bob)
      await bob.say(conversation, 'mine')
      await bob.commit(conversation, [setting.alice, bob, tablet])
      const kinds = (phone: Phone): string[] => phone.line.heard.map(({ kind }) => kind)
      assert.deepEqual(kinds(bob), ['welcome', 'commit', 'commit'])
      for (const phone of [bob, tablet]) {
        await phone.connect()
        await live(setting, phone)
      }
      assert.deepEqual(kinds(bob), ['welcome', 'commit', 'commit'])
      assert.deepEqual(kinds(tablet), ['welcome', 'commit', 'application', 'commit'])
    })

    test('nothing comes without credit, and as much as there is credit for', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      for (let i = 0; i < 5; i++) await alice.say(conversation, `${i}`)
      await bob.connect({ messages: 0, bytes: 0 })
      await settled()
      assert.equal(bob.line.heard.length, 0)
      await bob.ask('credit', { messages: 3, bytes: 0 })
      await settled()
      assert.equal(bob.line.heard.length, 0)
      await bob.ask('credit', { messages: 0, bytes: 2 ** 20 })
      await until(() => bob.line.heard.length === 3)
      await settled()
      assert.equal(bob.line.heard.length, 3)
      await bob.ask('credit', { messages: 1, bytes: 0 })
      await until(() => bob.line.heard.length === 4)
      await alice.say(conversation, '5')
      await settled()
      assert.equal(bob.line.heard.length, 4)
      await bob.ask('credit', { messages: 100, bytes: 0 })
      await until(() => bob.line.texts.length === 6)
      assert.deepEqual(bob.line.texts, ['0', '1', '2', '3', '4', '5'])
    })

    test('any message fits any credit, and takes it', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      await catchUp(setting, bob)
      await bob.connect({ messages: 10, bytes: 1 })
      await live(setting, bob)
      await alice.say(conversation, new Uint8Array(100_000))
      await alice.say(conversation, 'next')
      await until(() => bob.line.heard.length === 1)
      await bob.ask('credit', { messages: 0, bytes: 99_999 })
      await settled()
      assert.equal(bob.line.heard.length, 1)
      await bob.ask('credit', { messages: 0, bytes: 1 })
      await until(() => bob.line.heard.length === 2)
    })

    test('more credit than there may be counts as that', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      await catchUp(setting, bob)
      await bob.connect({ messages: 2 ** 32 - 1, bytes: 2 ** 32 - 1 })
      for (let i = 0; i < 3; i++) await bob.ask('credit', { messages: 2 ** 32 - 1, bytes: 2 ** 32 - 1 })
      await live(setting, bob)
      const large = new Uint8Array(limits.sealedBytesMax)
      const most = limits.creditBytesMax / limits.sealedBytesMax
      for (let i = 0; i < most + 2; i++) await alice.say(conversation, large)
      await settled()
      assert.equal(bob.line.heard.length, most)
    })

    test('more messages of credit than there may be count as that', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      await catchUp(setting, bob)
      await bob.connect({ messages: 2 ** 32 - 1, bytes: limits.creditBytesMax })
      for (let i = 0; i < 3; i++) await bob.ask('credit', { messages: 2 ** 32 - 1, bytes: 0 })
      await live(setting, bob)
      const [most, atOnce] = [limits.creditMessagesMax, 500]
      for (let sent = 0; sent < most + atOnce; sent += atOnce)
        await Promise.all(Array.from({ length: atOnce }, () => alice.say(conversation, 'x')))
      await settled()
      assert.equal(bob.line.heard.length, most)
    })

    test('C15: to who does not take what comes no more is pushed, and nothing is lost or held for it', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      await bob.connect()
      await live(setting, bob)
      bob.line.isStuck = true
      const large = new Uint8Array(100_000)
      for (let i = 0; i < 20; i++) await alice.say(conversation, large)
      await settled()
      const pushed = bob.line.heard.length
      assert(pushed < 8, `${pushed} messages of 100 kB`)
      await alice.say(conversation, 'last')
      await settled()
      assert.equal(bob.line.heard.length, pushed)
      bob.line.drain()
      await until(() => bob.line.texts.includes('last'))
      assert.equal(bob.line.heard.length, 2 + 21)
      assert.equal(new Set(bob.line.heard.map(({ position }) => position)).size, 2 + 21)
    })

    test('C15: a backlog that goes in the same turn does not hold up delivery', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      for (let i = 0; i < 10; i++) await alice.say(conversation, new Uint8Array(100_000))
      const line = await bob.connect({ messages: 0, bytes: 0 })
      line.isSlow = true
      await bob.ask('credit', { messages: 100, bytes: 2 ** 24 })
      await until(() => line.heard.length === 12)
    })

    test('what was not acknowledged comes again in the next session, at the same position', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, conversation } = setting
      for (let i = 0; i < 3; i++) await alice.say(conversation, `${i}`)
      const first = await bob.connect()
      await live(setting, bob)
      await bob.acknowledge(first.heard[2]?.position)
      const second = await bob.connect()
      await live(setting, bob)
      assert.deepEqual(second.heard, first.heard.slice(3))
      await world.restart([bob])
      const third = await bob.connect()
      await live(setting, bob)
      assert.deepEqual(third.heard, first.heard.slice(3))
    })

    test('C05: what was not delivered cannot be acknowledged, and nothing is dropped', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      for (let i = 0; i < 3; i++) await alice.say(conversation, `${i}`)
      await bob.connect({ messages: 2, bytes: 2 ** 20 })
      await until(() => bob.line.heard.length === 2)
      const last = bob.line.heard.at(-1)?.position as number
      for (const through of [last + 1, setting.world.archive.position, Number.MAX_SAFE_INTEGER])
        await assert.rejects(bob.acknowledge(through), refusal('not-permitted'))
      await bob.acknowledge(last)
      await bob.acknowledge(1)
      await bob.connect()
      await until(() => bob.line.texts.length === 3)
      assert.equal(await setting.world.archive.acknowledged(bob.device.number), last)
    })

    test('C05: a session that another one has replaced acknowledges nothing', async () => {
      await using setting = await start(kind)
      const { bob, world } = setting
      const first = await bob.connect()
      await live(setting, bob)
      await bob.connect()
      const through = first.heard[0]?.position as number
      await assert.rejects(world.open.deliveries.acknowledge(first, through), refusal('not-permitted'))
    })

    test('C06: what one device acknowledges its sibling still gets, and what all have is gone', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      await alice.say(conversation, 'hello')
      await catchUp(setting, bob, alice)
      await world.trim()
      assert.equal(world.stored(conversation), 2)
      await tablet.connect()
      await until(() => tablet.line.texts.length === 1)
      await tablet.acknowledge(tablet.line.heard[1]?.position)
      await world.trim()
      assert.equal(world.stored(conversation), 1, 'the commit is gone')
      await tablet.acknowledge()
      await world.trim()
      assert.equal(world.stored(conversation), 0)
      assert.equal(world.archive.countOf(boxOf('welcome', bob.device.number)), 0)
    })

    test('acknowledgements that come together are one', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      for (let i = 0; i < 20; i++) await alice.say(conversation, `${i}`)
      await bob.connect()
      await live(setting, bob)
      let steps = 0
      setting.world.failing = ({ acknowledged }) => {
        if (acknowledged !== undefined) steps += 1
        return false
      }
      await Promise.all(bob.line.heard.map(({ position }) => bob.acknowledge(position)))
      assert(steps <= 2, `${steps} steps`)
      assert.equal(await setting.world.archive.acknowledged(bob.device.number), bob.line.heard.at(-1)?.position)
    })

    test('who only sends does not hold up what the others have read', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      await catchUp(setting, alice, bob, tablet)
      await alice.say(conversation, 'one')
      for (const phone of [bob, tablet]) {
        await until(() => phone.line.texts.length === 1)
        await phone.acknowledge()
      }
      await world.trim()
      assert.equal(world.stored(conversation), 0)
      await alice.say(conversation, 'two')
      alice.disconnect()
      await bob.acknowledge()
      await tablet.acknowledge()
      await world.trim()
      assert.equal(world.stored(conversation), 0)
    })

    for (const when of ['while it is there', 'in its absence', 'before a restart'] as const)
      test(`what only its sender could read does not stay: sent ${when}`, async () => {
        await using setting = await start(kind)
        const { world, alice } = setting
        const alone = await world.group(alice)
        if (when === 'while it is there') await catchUp(setting, alice)
        await alice.say(alone, 'a note')
        await alice.say(alone, 'and another one')
        if (when === 'before a restart') await world.restart()
        if (when !== 'while it is there') {
          await alice.connect()
          await live(setting, alice)
        }
        await settled()
        await alice.acknowledge()
        await world.trim()
        assert.equal(world.stored(alone), 0)
      })

    for (const last of ['has acknowledged it', 'is off its list'] as const)
      test(`what all have goes when somebody comes back, if the server ended before it went: the last one ${last}`, async () => {
        await using setting = await start(kind)
        const { world, alice, bob, tablet, conversation } = setting
        const phones = [alice, bob, ...(last === 'has acknowledged it' ? [tablet] : [])]
        await catchUp(setting, ...phones)
        const { position } = await alice.commit(conversation, [alice, bob, tablet])
        for (const phone of phones) {
          await until(() => phone.line.heard.at(-1)?.position === position)
          await phone.acknowledge()
        }
        if (last === 'is off its list') world.delist(tablet)
        await world.restart(phones)
        await world.open.conversations.parts.shelf.find(conversation)
        assert.equal(world.stored(conversation), 2)
        await bob.connect()
        await live(setting, bob)
        await world.trim()
        assert.equal(world.stored(conversation), 0)
      })

    test('what waits for one device is looked at again when that device gets on', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      await catchUp(setting, alice, bob, tablet)
      const other = await world.group(alice, tablet)
      await settled()
      await alice.say(other, 'elsewhere')
      await bob.say(conversation, 'hello')
      await until(() => alice.line.texts.length === 1 && tablet.line.texts.length === 2)
      await tablet.acknowledge()
      await alice.acknowledge(alice.line.heard.at(-2)?.position)
      await world.trim()
      assert(world.stored(conversation) > 0)
      await alice.acknowledge()
      await world.trim()
      assert.equal(world.stored(conversation), 0)
    })

    test('C04: nobody reads what was accepted before they joined or after they left', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      const carol = world.person('carol')[0] as Phone
      await alice.say(conversation, 'before')
      await alice.commit(conversation, [alice, bob, tablet, carol])
      await alice.say(conversation, 'with carol')
      await alice.commit(conversation, [alice, bob, tablet])
      await alice.say(conversation, 'without carol')
      await alice.commit(conversation, [alice, bob, tablet, carol])
      await alice.say(conversation, 'again')
      const expected = ['welcome 3', 'commit 3', 'with carol', 'commit 5', 'welcome 7', 'commit 7', 'again']
      for (const restarted of [false, true]) {
        if (restarted) await world.restart([carol])
        await carol.connect()
        await live(setting, carol)
        const heard = carol.line.heard.map(({ kind, sequence, text }) =>
          kind === 'application' ? text : `${kind} ${sequence}`,
        )
        assert.deepEqual(heard, expected)
      }
    })

    test('I1: what waits for who was taken out still comes when the last one has left, and then all of it goes', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      await alice.say(conversation, 'hello')
      await alice.commit(conversation, [alice])
      await alice.say(conversation, 'to nobody')
      await alice.ask('leave', { conversation })
      await world.trim()
      await world.restart()
      const { shelf } = world.open.conversations.parts
      for (const phone of [bob, tablet]) {
        assert((await shelf.find(conversation))?.state.intervals.length, 'it is held for the other one')
        await phone.connect()
        await live(setting, phone)
        assert.deepEqual(phone.line.texts, ['hello'])
        assert.deepEqual(
          phone.line.heard.map(({ sequence }) => sequence),
          [1, 1, 2, 3],
        )
        await assert.rejects(phone.ask('read-state', { conversation }), refusal('not-permitted'))
        await phone.acknowledge()
        await world.trim()
      }
      assert.equal(world.stored(conversation), 0)
      assert.deepEqual((await shelf.find(conversation))?.state.intervals, [])
      await world.restart([bob, tablet])
      const ledger = await world.open.conversations.parts.ledgers.of(bob.account)
      assert.deepEqual([...ledger.conversations()], [])
      await assert.rejects(bob.ask('create', { conversation }), refusal('conversation-exists'))
    })

    test('C04: who is taken off while a session is open gets the commit that does it, and nothing after', async () => {
      await using setting = await start(kind)
      const { alice, bob, tablet, conversation } = setting
      for (const phone of [bob, tablet]) {
        await phone.connect()
        await live(setting, phone)
      }
      const [, , gone] = await Promise.all([
        alice.say(conversation, 'one'),
        alice.say(conversation, 'two'),
        alice.commit(conversation, [alice, bob]),
      ])
      await alice.say(conversation, 'three')
      await until(() => bob.line.texts.includes('three'))
      assert.equal(tablet.line.heard.at(-1)?.position, gone.position)
      assert.deepEqual(tablet.line.texts, ['one', 'two'])
    })

    test('who was taken off and has read so far does not hold up the others, and is forgotten', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      await alice.commit(conversation, [alice, bob])
      await alice.say(conversation, 'later')
      await catchUp(setting, alice, bob)
      await world.trim()
      assert.equal(world.stored(conversation), 2, 'both commits wait for the one that was taken off')
      await catchUp(setting, tablet)
      await world.trim()
      assert.equal(world.stored(conversation), 0)
      await alice.commit(conversation, [alice, bob])
      const { ledgers } = world.open.conversations.parts
      assert.equal([...(await ledgers.of(tablet.account)).conversations()].length, 1)
      await alice.commit(conversation, [alice])
      await catchUp(setting, alice, bob)
      await world.trim()
      await alice.commit(conversation, [alice])
      assert.equal([...(await ledgers.of(bob.account)).conversations()].length, 0)
    })

    test('who was taken off holds up the commit that did it, and no message after it', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      await alice.say(conversation, 'for all')
      await catchUp(setting, alice, bob, tablet)
      tablet.disconnect()
      await world.trim()
      await alice.commit(conversation, [alice, bob])
      for (const text of ['one', 'two']) {
        await alice.say(conversation, text)
        for (const phone of [alice, bob]) {
          await until(() => phone.line.heard.at(-1)?.kind === (phone === alice ? 'commit' : 'application'))
          await until(() => phone === alice || phone.line.texts.at(-1) === text)
          await phone.acknowledge()
        }
        await world.trim()
        assert.equal(world.stored(conversation), 1)
      }
    })

    test('who left and had read everything holds up nothing after a restart', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      const carol = world.person('carol')[0] as Phone
      await alice.commit(conversation, [alice, bob, tablet, carol])
      await alice.say(conversation, 'for all')
      await catchUp(setting, alice, bob, tablet, carol)
      await carol.ask('leave', { conversation })
      await world.restart([alice, bob, tablet, carol])
      await alice.say(conversation, 'without carol', { generation: 1, epoch: 2 })
      await catchUp(setting, alice, bob, tablet)
      await world.trim()
      assert.equal(world.stored(conversation), 0)
    })

    test('who gets on while it is looked who is slowest is not waited for in vain', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      await alice.say(conversation, 'hello')
      await catchUp(setting, alice, bob)
      await tablet.connect()
      await live(setting, tablet)
      const { archive } = world
      const acknowledged = archive.acknowledged.bind(archive)
      archive.acknowledged = async (device) => {
        const before = await acknowledged(device)
        if (device === tablet.device.number) {
          archive.acknowledged = acknowledged
          await tablet.acknowledge()
        }
        return before
      }
      await world.trim()
      await world.trim()
      assert.equal(world.stored(conversation), 0)
    })

    test('a device that is delisted gets nothing more and holds up nobody', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      await tablet.connect()
      await live(setting, tablet)
      await catchUp(setting, alice, bob)
      await alice.say(conversation, 'one')
      await until(() => bob.line.texts.length === 1)
      await bob.acknowledge()
      await world.trim()
      assert(world.stored(conversation) > 0)
      const before = tablet.line.heard.length
      world.delist(tablet)
      await alice.say(conversation, 'two')
      await bob.acknowledge()
      await world.trim()
      assert.equal(world.stored(conversation), 0)
      assert.equal(tablet.line.heard.length, before)
    })

    test('I9: a Welcome goes with the device that it waits for', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      const late = world.addDevice(bob.account)
      await alice.commit(conversation, [alice, bob, tablet, late])
      const box = boxOf('welcome', late.device.number)
      assert.equal(world.archive.countOf(box), 1)
      world.delist(late)
      await until(() => world.archive.countOf(box) === 0)
    })

    test('a new device does not read through what was before it', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      for (let i = 0; i < 600; i++) await alice.say(conversation, `${i}`)
      const late = world.addDevice(bob.account)
      await alice.commit(conversation, [alice, bob, tablet, late])
      await alice.say(conversation, 'now')
      let reads = 0
      const read = world.archive.read.bind(world.archive)
      world.archive.read = (waiting) => {
        reads += waiting.length
        return read(waiting)
      }
      await late.connect()
      await until(() => late.line.texts.length === 1)
      assert.deepEqual(
        late.line.heard.map(({ sequence }) => sequence),
        [602, 602, 603],
      )
      assert(reads < 10, `${reads} messages read`)
    })

    test('C04: what was under way when somebody came or went is for those who were there', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      const carol = world.person('carol')[0] as Phone
      await alice.say(conversation, 'warm')
      const large = new Uint8Array(100_000) // what lies in a file gets its position late
      await Promise.all([
        alice.say(conversation, large),
        alice.say(conversation, 'small'),
        alice.commit(conversation, [alice, bob, tablet, carol]),
      ])
      const state = await alice.ask('read-state', { conversation })
      assert.equal(state.sequence, 5)
      await carol.connect()
      await live(setting, carol)
      const joined = carol.line.heard[0]?.sequence ?? 0
      assert(carol.line.heard.every(({ sequence }) => sequence >= joined))
      assert.equal(carol.line.heard.length, 2 + 5 - joined)

      await carol.acknowledge()
      carol.disconnect()
      const leaving = carol.ask('leave', { conversation })
      const said = [1, 2, 3, 4].map((i) => alice.say(conversation, `late ${i}`))
      await leaving
      const sequences = (await Promise.all(said)).map(({ sequence }) => sequence)
      const { intervals } = (await world.open.conversations.parts.shelf.find(conversation))?.state ?? assert.fail()
      const left = intervals.find(({ device }) => device === carol.device.number)?.through ?? 0
      await carol.connect()
      await live(setting, carol)
      assert.deepEqual(
        carol.line.heard.map(({ sequence }) => sequence),
        sequences.filter((sequence) => sequence <= left),
      )
    })

    test('who joins while a conversation is being trimmed loses nothing', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      const carol = world.person('carol')[0] as Phone
      await catchUp(setting, alice, bob, tablet)
      const { trimming, goOn } = await heldTrimming(world)
      await alice.commit(conversation, [alice, bob, tablet, carol])
      await alice.say(conversation, 'welcome')
      for (const phone of [alice, bob, tablet]) {
        await until(() => phone.line.heard.at(-1)?.sequence === (phone === alice ? 2 : 3))
        await phone.acknowledge()
      }
      goOn()
      await trimming
      await carol.connect()
      await live(setting, carol)
      assert.deepEqual(
        carol.line.heard.map(({ sequence }) => sequence),
        [2, 2, 3],
      )
    })

    test('I1: what arrives in an empty box while the conversation is looked at stays for whoever has not read it', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, conversation } = setting
      await catchUp(setting, alice)
      const { trimming, goOn } = await heldTrimming(world)
      await alice.say(conversation, 'meanwhile')
      goOn()
      await trimming
      await bob.connect()
      await live(setting, bob)
      assert.deepEqual(bob.line.texts, ['meanwhile'])
    })

    test('a damaged message is passed over and explained as lost; what follows comes', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, conversation } = setting
      const sent = []
      for (let i = 0; i < 5; i++) sent.push(await alice.say(conversation, `${i}`))
      damage(world.archive, new Set([sent[1]?.position as number, sent[4]?.position as number]))
      await bob.connect()
      await live(setting, bob)
      assert.deepEqual(bob.line.texts, ['0', '2', '3'])
      assert.deepEqual(await bob.ask('explain', { conversation, from: 1, through: 100 }), [
        { from: 1, through: 2, why: 'waiting' },
        { from: 3, through: 3, why: 'lost' },
        { from: 4, through: 5, why: 'waiting' },
        { from: 6, through: 6, why: 'lost' },
      ])
      await alice.say(conversation, 'next')
      await until(() => bob.line.texts.length === 4)
    })

    test('a sequence is not given again although the message that would tell it is damaged', async () => {
      await using setting = await start(kind)
      const { world, alice, conversation } = setting
      await alice.say(conversation, 'one')
      const { position, sequence } = await alice.say(conversation, 'two')
      await world.restart()
      damage(world.archive, new Set([position]))
      const next = await alice.say(conversation, 'three', { generation: 1, epoch: 1 })
      assert(next.sequence > sequence)
    })

    test('each gap is explained: not addressed, waiting, acknowledged', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, tablet, conversation } = setting
      const carol = world.person('carol')[0] as Phone
      await alice.say(conversation, 'before')
      await alice.commit(conversation, [alice, bob, tablet, carol])
      await carol.say(conversation, 'mine')
      await alice.say(conversation, 'theirs')
      await carol.connect()
      await live(setting, carol)
      const why = (): Promise<unknown> => carol.ask('explain', { conversation, from: 1, through: 1000 })
      assert.deepEqual(await why(), [
        { from: 1, through: 2, why: 'not-addressed' },
        { from: 3, through: 3, why: 'waiting' },
        { from: 4, through: 4, why: 'not-addressed' },
        { from: 5, through: 5, why: 'waiting' },
      ])
      await carol.acknowledge()
      const acknowledged = [
        { from: 1, through: 2, why: 'not-addressed' },
        { from: 3, through: 3, why: 'acknowledged' },
        { from: 4, through: 4, why: 'not-addressed' },
        { from: 5, through: 5, why: 'acknowledged' },
      ]
      assert.deepEqual(await why(), acknowledged)
      await catchUp(setting, alice, bob, tablet)
      await world.trim()
      assert.equal(world.stored(conversation), 0)
      assert.deepEqual(await carol.ask('explain', { conversation, from: 3, through: 3 }), acknowledged.slice(1, 2))
      assert.deepEqual(await carol.ask('explain', { conversation, from: 6, through: 9 }), [])
      for (const [from, through] of [
        [0, 1],
        [2, 1],
      ] as const)
        await assert.rejects(carol.ask('explain', { conversation, from, through }), refusal('malformed'))
    })

    test('an explanation of more than fits ends earlier, without a hole', async () => {
      await using setting = await start(kind)
      const { alice, bob, conversation } = setting
      for (let i = 0; i < limits.pageMax; i++) {
        await bob.say(conversation, 'mine')
        await alice.say(conversation, 'theirs')
      }
      const gaps = await bob.ask('explain', { conversation, from: 1, through: 10_000 })
      assert.equal(gaps.length, limits.pageMax)
      const all = [...gaps]
      const newest = 1 + 2 * limits.pageMax
      for (let last = all.at(-1); last !== undefined && last.through < newest; last = all.at(-1))
        all.push(...(await bob.ask('explain', { conversation, from: last.through + 1, through: 10_000 })))
      for (const [i, { from }] of all.entries()) assert.equal(from, (all[i - 1]?.through ?? 0) + 1)
    })

    test('a session whose messages cannot be read ends, and the next one gets them', async () => {
      await using setting = await start(kind)
      const { world, alice, bob, conversation } = setting
      await alice.say(conversation, 'hello')
      const read = world.archive.read.bind(world.archive)
      world.archive.read = async () => {
        throw new Error('no more files')
      }
      const line = await bob.connect()
      await until(() => !line.isOpen)
      world.archive.read = read
      await bob.connect()
      await until(() => bob.line.texts.length === 1)
    })
  })

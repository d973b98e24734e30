import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { suite, test } from 'node:test'
import { type Archive, archiveLimits, type ObjectChange, type SentRecord } from '../../src/archive.ts'
import { messageIdOf } from '../../src/storage/records.ts'
import { registered } from '../world.ts'
import {
  type ArchiveWishes,
  allOf,
  archiveKinds,
  box,
  contentsOf,
  message,
  newSendId,
  sent,
  startArchive,
  text,
} from './archiveworld.ts'
import { heard, send } from './world.ts'

const account = (key: string, value: string | undefined): ObjectChange => ({
  kind: 'account',
  key: text(key),
  value: value === undefined ? undefined : text(value),
})

async function accountIn(archive: Archive, key: string): Promise<string | undefined> {
  const value = await archive.get('account', text(key))
  return value && Buffer.from(value).toString()
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

async function keysIn(archive: Archive, prefix: string | Uint8Array, after?: string, limit = 100): Promise<string[]> {
  const range = { prefix: Buffer.from(prefix), after: after === undefined ? undefined : text(after), limit }
  return (await archive.scan('account', range)).map(({ key }) => Buffer.from(key).toString('latin1'))
}

for (const kind of Object.keys(archiveKinds)) {
  const start = (wishes?: ArchiveWishes) => startArchive(kind, wishes)

  suite(`objects on ${kind}`, () => {
    test('an object is what it was last set to, until it is forgotten', async () => {
      await using world = await start()
      await world.archive.step({ objects: [account('a', 'one'), account('b', 'two'), account('a', 'three')] })
      await world.restart()
      assert.equal(await accountIn(world.archive, 'a'), 'three')
      assert.equal(await accountIn(world.archive, 'b'), 'two')
      await world.archive.step({ objects: [account('a', undefined), account('never there', undefined)] })
      await world.restart()
      assert.equal(await accountIn(world.archive, 'a'), undefined)
      assert.equal(await accountIn(world.archive, 'b'), 'two')
    })

    test('objects of different kinds have nothing to do with each other', async () => {
      await using world = await start()
      await world.archive.step({
        objects: [account('key', 'account'), { kind: 'device', key: text('key'), value: text('device') }],
      })
      await world.archive.step({ objects: [account('key', undefined)] })
      assert.equal(await accountIn(world.archive, 'key'), undefined)
      assert.deepEqual(await world.archive.get('device', text('key')), text('device'))
      assert.deepEqual(await keysIn(world.archive, ''), [])
    })

    test('keys and values of every size come back byte for byte', async () => {
      await using world = await start()
      const objects = [0, 1, 3000, 70_000, 2_000_000].map((bytes, i) => ({
        kind: 'handshake' as const,
        key: Buffer.alloc(i * 100, i), // the first one is empty
        value: randomBytes(bytes),
      }))
      for (const object of objects) await world.archive.step({ objects: [object] })
      await world.restart()
      const found = await world.archive.scan('handshake', { prefix: new Uint8Array(0), limit: 10 })
      assert.deepEqual(
        found.map(({ key }) => hex(key)),
        objects.map(({ key }) => hex(key)),
      )
      for (const [i, { key, value }] of objects.entries()) {
        assert(value.equals(found[i]?.value as Uint8Array))
        assert(value.equals((await world.archive.get('handshake', key)) as Uint8Array))
      }
    })

    test('a scan goes through the keys with a prefix, in the order of their bytes', async () => {
      await using world = await start()
      const keys = ['b', 'ab', 'a', 'abc', 'ac', 'ab\xff', 'ab\xff\xff', 'B', '\xff', '\xff\xff']
      const objects = keys.map((key) => ({
        kind: 'account' as const,
        key: Buffer.from(key, 'latin1'),
        value: text(''),
      }))
      await world.archive.step({ objects })
      const { archive } = world
      assert.deepEqual(await keysIn(archive, ''), [
        'B',
        'a',
        'ab',
        'abc',
        'ab\xff',
        'ab\xff\xff',
        'ac',
        'b',
        '\xff',
        '\xff\xff',
      ])
      assert.deepEqual(await keysIn(archive, 'ab'), ['ab', 'abc', 'ab\xff', 'ab\xff\xff'])
      assert.deepEqual(await keysIn(archive, Buffer.from([0xff])), ['\xff', '\xff\xff'])
      assert.deepEqual(await keysIn(archive, 'zzz'), [])
      assert.deepEqual(await keysIn(archive, 'ab', 'ab'), ['abc', 'ab\xff', 'ab\xff\xff'])
      assert.deepEqual(await keysIn(archive, 'ab', 'abd'), ['ab\xff', 'ab\xff\xff'])
      assert.deepEqual(await keysIn(archive, 'ab', 'a'), ['ab', 'abc', 'ab\xff', 'ab\xff\xff'])
      assert.deepEqual(await keysIn(archive, '', 'ac', 2), ['b', '\xff'])
    })

    test('what is under way is not told, what is durable is', async () => {
      await using world = await start()
      const { archive } = world
      const stepping = archive.step({ objects: [account('a', 'new')], messages: [message(box(0), 'new')] })
      assert.equal(archive.countOf(box(0)), 0)
      assert.equal(archive.reader(box(0), 0).peek(), undefined)
      await stepping
      assert.equal(await accountIn(archive, 'a'), 'new')
      assert.equal(archive.countOf(box(0)), 1)
    })
  })

  suite(`boxes on ${kind}`, () => {
    test('messages lie in their box in the order of the calls, and come back', async () => {
      await using world = await start()
      const contents = Array.from({ length: 300 }, (_, i) => `message ${i}`)
      const stepped = await Promise.all(
        contents.map((each) => world.archive.step({ messages: [message(box(1), each)] })),
      )
      const positions = stepped.flatMap((each) => each.positions)
      assert.deepEqual(
        positions,
        [...new Set(positions)].sort((one, other) => one - other),
      )
      await world.restart()
      assert.deepEqual(await contentsOf(world.archive, box(1)), contents)
      assert.deepEqual(
        allOf(world.archive.reader(box(1), 0)).map(({ position }) => position),
        positions,
      )
    })

    test('a step puts its messages one behind the other, into any boxes, at one time', async () => {
      await using world = await start({ nowMs: () => 1234 })
      const { archive } = world
      const id = newSendId()
      const messages = [message(box(2), 'one'), { ...message(box(1), 'two'), id }, message(box(2), 'three')]
      const { positions, at } = await archive.step({ messages })
      assert.equal(at, 1234)
      assert.equal(archive.position, positions[2])
      assert.deepEqual(await contentsOf(archive, box(2)), ['one', 'three'])
      const [two] = await archive.read(allOf(archive.reader(box(1), 0)))
      assert.equal(two?.position, positions[1])
      assert.equal(hex(two?.id as Uint8Array), hex(id))
      assert.equal(Buffer.from(two?.content as Uint8Array).toString(), 'two')
    })

    test('contents of every size come back, and do not change their order', async () => {
      await using world = await start()
      const sizes = [0, 1, 65_536, 65_537, 10, 262_144, 3, archiveLimits.messageBytesMax, 65_537, 0]
      const contents = sizes.map((bytes) => randomBytes(bytes))
      await Promise.all(
        contents.map((content) => world.archive.step({ messages: [{ ...message(box(0), ''), content }] })),
      )
      const verify = async (): Promise<void> => {
        const waiting = allOf(world.archive.reader(box(0), 0))
        assert.equal(
          world.archive.bytesOf(box(0)),
          waiting.reduce((sum, { bytes }) => sum + bytes, 0),
        )
        const found = await world.archive.read(waiting)
        assert(found.every((each, i) => Buffer.compare(each?.content as Uint8Array, contents[i] as Buffer) === 0))
      }
      await verify()
      await world.restart()
      await verify()
    })

    test('a step with a large content is not overtaken by any that is called after it', async () => {
      await using world = await start()
      const { archive } = world
      const order: string[] = []
      const stepping = [
        archive.step({ messages: [message(box(0), Buffer.alloc(200_000, 'l'))] }).then(() => order.push('large')),
        archive.step({ messages: [message(box(1), 'other box')] }).then(() => order.push('small')),
        archive.step({ messages: [message(box(0), Buffer.alloc(100_000, 'm'))] }).then(() => order.push('large again')),
        archive.step({ objects: [account('a', 'b')] }).then(() => order.push('object')),
      ]
      await Promise.all(stepping)
      assert.deepEqual(order, ['large', 'small', 'large again', 'object'])
      assert((allOf(archive.reader(box(1), 0))[0]?.position as number) > archive.newestOf(box(0)) - 2)
    })

    test('what is not there is read as nothing, and the rest as it is', async () => {
      await using world = await start()
      const { archive } = world
      await archive.step({ messages: [message(box(0), 'one'), message(box(0), 'two')] })
      const [one, two] = allOf(archive.reader(box(0), 0)) as [
        { position: number; bytes: number },
        { position: number; bytes: number },
      ]
      const read = await archive.read([two, { position: 4711, bytes: 30 }, one, two])
      assert.deepEqual(
        read.map((each) => each && Buffer.from(each.content).toString()),
        ['two', undefined, 'one', 'two'],
      )
      assert.deepEqual(await archive.read([]), [])
    })

    test('a trim forgets up to a position, and nothing else', async () => {
      await using world = await start()
      const stepped = await world.archive.step({
        messages: [message(box(0), 'a'), message(box(1), 'other'), message(box(0), 'b'), message(box(0), 'c')],
      })
      await world.archive.step({
        trims: [
          { box: box(0), through: stepped.positions[2] as number },
          { box: box(9), through: 100 },
        ],
      })
      for (let life = 0; life < 2; life++, await world.restart()) {
        const { archive } = world
        assert.deepEqual(await contentsOf(archive, box(0)), ['c'])
        assert.deepEqual(await contentsOf(archive, box(1)), ['other'])
        assert.equal(archive.countOf(box(0)), 1)
        assert.equal(archive.bytesOf(box(0)), archive.bytesOf(box(1)) - 4)
        assert.equal(archive.newestOf(box(0)), stepped.positions[3])
        assert.deepEqual(
          [...archive.occupiedBoxes()].sort((one, other) => one.box - other.box),
          [
            { box: box(0), oldest: stepped.positions[3] },
            { box: box(1), oldest: stepped.positions[1] },
          ],
        )
      }
      const { archive } = world
      await archive.step({ trims: [{ box: box(0), through: archive.position }] })
      assert.deepEqual([archive.countOf(box(0)), archive.bytesOf(box(0)), archive.newestOf(box(0))], [0, 0, 0])
      assert.deepEqual(
        [...archive.occupiedBoxes()].map((each) => each.box),
        [box(1)],
      )
    })

    test('a trim takes what a step brings that was called before it, large or small', async () => {
      await using world = await start()
      const { archive } = world
      const stepping = [
        archive.step({ messages: [message(box(0), Buffer.alloc(70_000)), message(box(0), 'small')] }),
        archive.step({ trims: [{ box: box(0), through: Number.MAX_SAFE_INTEGER }] }),
        archive.step({ messages: [message(box(0), 'after')] }),
      ]
      await Promise.all(stepping)
      assert.deepEqual(await contentsOf(archive, box(0)), ['after'])
      await world.restart()
      assert.deepEqual(await contentsOf(world.archive, box(0)), ['after'])
    })

    test('a reader goes on behind where it is, whatever is added and trimmed', async () => {
      await using world = await start()
      const { archive } = world
      const put = async (content: string): Promise<number> =>
        (await archive.step({ messages: [message(box(0), content)] })).positions[0] as number
      const [, second, third] = [await put('1'), await put('2'), await put('3')]
      const reader = archive.reader(box(0), 0)
      const late = archive.reader(box(0), second)
      const beyond = archive.reader(box(0), third + 1000)
      assert.equal(late.peek()?.position, third)
      assert.equal(late.peek()?.position, third, 'peeking does not move')
      reader.advance()
      await archive.step({ trims: [{ box: box(0), through: second }] })
      assert.equal(reader.peek()?.position, third)
      reader.advance()
      assert.equal(reader.peek(), undefined)
      reader.advance()
      await archive.step({ trims: [{ box: box(0), through: third }] })
      await archive.step({ messages: [message(box(1), 'takes up what became free'), message(box(2), 'as well')] })
      assert.equal(reader.peek(), undefined)
      assert.equal(late.peek(), undefined)
      const fourth = await put('4')
      assert.equal(reader.peek()?.position, fourth)
      assert.equal(late.peek()?.position, fourth)
      assert.equal(beyond.peek(), undefined, 'it has passed what comes now')
      late.advance()
      assert.equal(late.peek(), undefined)
    })

    test('positions are those of version 2, which skips what its ids cannot be', async () => {
      await using world = await start({ position: 2 ** 32 - 4 })
      const { archive, storage } = world
      const alice = await registered(storage, 'alice')
      const first = await send(storage, alice, alice, 'one')
      const { positions } = await archive.step({ messages: [message(box(0), 'two'), message(box(0), 'three')] })
      const last = await send(storage, alice, alice, 'four')
      assert.deepEqual(
        [first.position, ...positions, last.position],
        [-3, -2, -1, 1].map((each) => 2 ** 32 + each),
      )
      assert.equal(archive.position, last.position)
      assert(positions.every((position) => messageIdOf(position) !== 0))
      const { position } = archive
      await world.restart()
      assert.equal(world.archive.position, position)
      assert.deepEqual(await heard(world.storage, alice), Buffer.concat([first.bytes, last.bytes]))
      assert.deepEqual(await contentsOf(world.archive, box(0)), ['two', 'three'])
    })

    test('the position before a time is that of the last message accepted before it', async () => {
      let now = 1000
      await using world = await start({ nowMs: () => now })
      assert.equal(await world.archive.positionBefore(1e15), 0)
      const accepted: { position: number; at: number }[] = []
      for (let i = 0; i < 100; i++) {
        now += 10 * (i % 3)
        const { positions, at } = await world.archive.step({ messages: [message(box(i % 7), '')] })
        accepted.push({ position: positions[0] as number, at })
      }
      await world.restart()
      for (let time = 990; time < 2050; time += 5) {
        const expected = accepted.findLast(({ at }) => at < time)?.position ?? 0
        assert.equal(await world.archive.positionBefore(time), expected, `before ${time}`)
      }
    })
  })

  suite(`sends on ${kind}`, () => {
    const idsOf = (records: Iterable<SentRecord>): string[] => Array.from(records, ({ id }) => hex(id))

    test('a send is known by its number and its id, with where it stands', async () => {
      await using world = await start({ nowMs: () => 5000 })
      const put = sent(box(3), 4, 1, 'hello')
      const { positions } = await world.archive.step({ messages: [put] })
      const expected = {
        ...put.sent,
        id: new Uint8Array(put.id),
        digest: new Uint8Array(put.sent?.digest ?? []),
        position: positions[0],
        at: 5000,
      }
      const plain = (record: SentRecord | undefined) =>
        record && { ...record, id: new Uint8Array(record.id), digest: new Uint8Array(record.digest) }
      for (let life = 0; life < 2; life++, await world.restart()) {
        const sends = await world.archive.sends(4)
        assert.equal(sends.highest, 1)
        assert.equal(sends.recent.size, 1)
        assert.deepEqual(plain(sends.recent.get(1)), expected)
        assert.deepEqual(plain(sends.withId(put.id)), expected)
        assert.equal(sends.recent.get(2), undefined)
        assert.equal(sends.withId(newSendId()), undefined)
        assert.deepEqual(plain(await world.archive.findSent(4, 1)), expected)
        assert.equal(await world.archive.findSent(4, 2), undefined)
        assert.equal(await world.archive.findSent(5, 1), undefined)
        assert.equal((await world.archive.sends(5)).highest, 0)
      }
    })

    test('the newest are at hand, older ones are found, in whatever order their numbers came', async () => {
      await using world = await start()
      const numbers = Array.from({ length: 600 }, (_, i) => 1 + ((i * 7) % 600))
      const ids = new Map<number, string>()
      for (const number of numbers) {
        const put = sent(box(0), 9, number)
        ids.set(number, hex(put.id))
        if (number % 50 === 0) await world.archive.step({ messages: [put] })
        else void world.archive.step({ messages: [put] })
      }
      await world.archive.step({})
      for (let life = 0; life < 2; life++, await world.restart()) {
        const { archive } = world
        const sends = await archive.sends(9)
        assert.equal(sends.highest, 600)
        for (let number = 600 - archiveLimits.recentSends + 1; number <= 600; number++) {
          const record = sends.recent.get(number)
          assert(record !== undefined)
          assert.deepEqual(idsOf([record]), [ids.get(number)])
          assert.equal(sends.withId(record.id)?.number, number)
        }
        assert.deepEqual(
          idsOf(sends.recent.values()),
          [...sends.recent.keys()].map((number) => ids.get(number)),
        )
        assert.equal([...sends.recent].length, sends.recent.size)
        for (const number of [1, 2, 250, 344, 345])
          assert.deepEqual(
            idsOf([(await archive.findSent(9, number)) as SentRecord]),
            [ids.get(number)],
            `number ${number}`,
          )
      }
    })

    test('a send that is under way is among the others, without a place, and can be waited for', async () => {
      await using world = await start()
      const { archive } = world
      await archive.step({ messages: [sent(box(0), 1, 1)] })
      const sends = await archive.sends(1)
      const put = sent(box(0), 1, 2)
      const stepping = archive.step({ messages: [put] })
      assert.equal(sends.highest, 2)
      assert.deepEqual([sends.recent.get(2)?.position, sends.recent.get(2)?.at], [0, 0])
      assert.equal(sends.withId(put.id)?.number, 2)
      assert.equal(sends.recent.size, 2)
      const found = await archive.findSent(1, 2)
      const { positions } = await stepping
      assert.equal(found?.position, positions[0])
      assert.equal((await archive.sends(1)).recent.get(2)?.position, positions[0])
    })

    test('a send that is refused was never sent', async () => {
      let hasRoom = true
      await using world = await start({ diskHasRoom: () => hasRoom, nowMs: clockOfSeconds() })
      const { archive } = world
      await archive.step({ messages: [sent(box(0), 1, 1)] })
      hasRoom = false
      const refused = sent(box(0), 1, 2)
      await untilFull(archive)
      await assert.rejects(archive.step({ messages: [refused] }), { reason: 'storage-full' })
      const sends = await archive.sends(1)
      assert.deepEqual([sends.highest, sends.recent.size, sends.withId(refused.id)], [1, 1, undefined])
      assert.equal(await archive.findSent(1, 2), undefined)
    })

    test('acknowledgements only grow', async () => {
      await using world = await start()
      assert.equal(await world.archive.acknowledged(3), 0)
      await world.archive.step({ acknowledged: { device: 3, through: 10 } })
      await world.archive.step({ acknowledged: { device: 3, through: 7 } })
      await world.archive.step({ acknowledged: { device: 4, through: 2 } })
      for (let life = 0; life < 2; life++, await world.restart())
        assert.deepEqual(
          [
            await world.archive.acknowledged(3),
            await world.archive.acknowledged(4),
            await world.archive.acknowledged(5),
          ],
          [10, 2, 0],
        )
      await world.archive.step({ acknowledged: { device: 3, through: 9 } })
      assert.equal(await world.archive.acknowledged(3), 10)
    })
  })

  suite(`refusals on ${kind}`, () => {
    test('K05 a full disk refuses what is new, and lets be forgotten and acknowledged', async () => {
      let hasRoom = true
      await using world = await start({ diskHasRoom: () => hasRoom, nowMs: clockOfSeconds() })
      const { archive } = world
      await archive.step({ objects: [account('a', 'old')], messages: [message(box(0), 'old')] })
      hasRoom = false
      await untilFull(archive)
      await assert.rejects(archive.step({ objects: [account('a', 'new')], messages: [message(box(0), 'new')] }), {
        reason: 'storage-full',
      })
      await turn()
      await archive.step({ acknowledged: { device: 1, through: 5 } })
      assert.equal(await accountIn(archive, 'a'), 'old')
      assert.deepEqual(await contentsOf(archive, box(0)), ['old'])
      await archive.step({ trims: [{ box: box(0), through: archive.position }], objects: [account('a', undefined)] })
      assert.equal(archive.countOf(box(0)), 0)
      hasRoom = true
      await untilRoom(archive)
      await archive.step({ objects: [account('a', 'new')] })
      assert.equal(await accountIn(archive, 'a'), 'new')
      assert.equal(await archive.acknowledged(1), 5)
    })

    test('what is called behind a refused step is refused, until its caller has been told', async () => {
      let hasRoom = true
      await using world = await start({ diskHasRoom: () => hasRoom, nowMs: clockOfSeconds() })
      const { archive } = world
      hasRoom = false
      await untilFull(archive)
      const first = archive.step({ objects: [account('a', 'new')] })
      hasRoom = true
      const second = archive.step({ trims: [{ box: box(0), through: 1 }] })
      const third = first.catch(() => archive.step({ trims: [{ box: box(0), through: 1 }] }))
      await assert.rejects(first, { reason: 'storage-full' })
      await assert.rejects(second, { reason: 'storage-full' })
      await assert.rejects(
        third,
        { reason: 'storage-full' },
        'its caller was told, but perhaps not all who built on it',
      )
      await turn()
      await archive.step({ trims: [{ box: box(0), through: 1 }] })
    })

    test('I9 a message or a step above the limits is too large, and nothing of it happens', async () => {
      await using world = await start()
      const { archive } = world
      const large = Buffer.alloc(archiveLimits.messageBytesMax + 1)
      await assert.rejects(archive.step({ messages: [message(box(0), large)] }), { reason: 'too-large' })
      await turn()
      const value = Buffer.alloc(archiveLimits.stepBytesMax / 2)
      const objects = [account('a', ''), ...['b', 'c'].map((key) => ({ ...account(key, ''), value }))]
      await assert.rejects(archive.step({ objects }), { reason: 'too-large' })
      await turn()
      assert.equal(await accountIn(archive, 'a'), undefined)
      await archive.step({ objects: objects.slice(0, 2) })
      assert.equal(await accountIn(archive, 'a'), '')
    })

    test('a closed archive takes nothing and tells nothing', async () => {
      await using world = await start()
      const { archive, storage } = world
      await archive.step({ messages: [message(box(0), 'one')] })
      await storage[Symbol.asyncDispose]()
      const stopping = { reason: 'stopping' }
      await assert.rejects(archive.step({ messages: [message(box(0), 'two')] }), stopping)
      await assert.rejects(archive.get('account', text('a')), stopping)
      await assert.rejects(archive.scan('account', { prefix: text(''), limit: 1 }), stopping)
      await assert.rejects(archive.sends(1), stopping)
      await assert.rejects(archive.findSent(1, 1), stopping)
      await assert.rejects(archive.acknowledged(1), stopping)
      await assert.rejects(archive.positionBefore(1), stopping)
    })
  })
}

suite('large contents on sqlite', () => {
  const filesIn = (folder: string): string[] =>
    readdirSync(path.join(folder, 'content')).filter((name) => name !== 'incoming')

  test('a file goes with its message, at the trim or at the next start', async () => {
    await using world = await startArchive('sqlite')
    const large = (): Buffer => randomBytes(70_000)
    await world.archive.step({
      messages: [message(box(0), large()), message(box(0), 'small'), message(box(1), large())],
    })
    assert.equal(filesIn(world.folder).length, 2)
    await world.archive.step({ trims: [{ box: box(0), through: world.archive.position }] })
    await world.archive.step({})
    await world.restart()
    assert.equal(filesIn(world.folder).length, 1)
    await world.archive.step({
      messages: [message(box(2), large())],
      trims: [{ box: box(1), through: world.archive.position }],
    })
    await world.restart()
    assert.equal(filesIn(world.folder).length, 1)
    const [kept] = await world.archive.read(allOf(world.archive.reader(box(2), 0)))
    assert.equal(kept?.content.length, 70_000)
  })
})

/** A clock that is a second further at each look, so that the disk is looked at again. */
function clockOfSeconds(): () => number {
  let now = 0
  return () => (now += 1001)
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** The disk is looked at about once a second, in the background. */
async function untilFull(archive: Archive): Promise<void> {
  for (;;) {
    const outcome = await archive.step({ objects: [account('probe', '')] }).catch((error: unknown) => error)
    await turn()
    if (outcome instanceof Error) return
  }
}

async function untilRoom(archive: Archive): Promise<void> {
  while ((await archive.step({ objects: [account('probe', '')] }).catch((error: unknown) => error)) instanceof Error)
    await turn()
}

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { suite, test } from 'node:test'
import {
  type Archive,
  archiveLimits,
  type BoxReader,
  type ObjectKind,
  type SentRecord,
  type Step,
} from '../../src/archive.ts'
import { Folding } from '../../src/storage/folding.ts'
import { readState } from '../../src/storage/load.ts'
import { MemoryArchive } from '../../src/storage/memoryarchive.ts'
import { openForWriting } from '../../src/storage/schema.ts'
import type { Storage } from '../../src/storage.ts'
import { openSqliteIn, temporaryFolder } from '../world.ts'
import type { ArchiveEvent } from './archive-child.ts'
import { allOf, box, message, sent, text } from './archiveworld.ts'
import { randomFrom, seed } from './world.ts'

const boxes = 5
const devices = 4
const kinds: readonly ObjectKind[] = ['account', 'conversation']

type Random = ReturnType<typeof randomFrom>

/** Steps that come one after the other, as the rules would make them: no number of a device comes twice. */
class Steps {
  readonly #random: Random
  readonly #numbers = new Map<number, number>()

  constructor(random: Random) {
    this.#random = random
  }

  next(archive: Archive): Step {
    const { below, pick } = this.#random
    const dice = below(100)
    if (dice < 60) return { messages: [this.#send()] }
    if (dice < 70) return { trims: [this.#trim(archive)] }
    if (dice < 75) return { acknowledged: { device: below(devices) + 1, through: below(archive.position + 1) } }
    if (dice < 77) return { messages: [message(box(below(boxes)), Buffer.alloc(65_537 + below(100_000), dice))] }
    const objects = Array.from({ length: below(4) }, () => ({
      kind: pick(kinds),
      key: text(`key ${below(30)}`),
      value: below(3) === 0 ? undefined : Buffer.alloc(below(300), below(256)),
    }))
    const messages = Array.from({ length: below(4) }, () =>
      below(2) === 0 ? this.#send() : message(box(below(boxes)), 'x'),
    )
    return { objects, messages, trims: below(3) === 0 ? [this.#trim(archive)] : [] }
  }

  #send() {
    const device = this.#random.below(devices) + 1
    const last = this.#numbers.get(device) ?? 0
    const number = last + 1 + (this.#random.below(10) === 0 ? this.#random.below(40) : 0) // one may be given up
    this.#numbers.set(device, number)
    return sent(box(this.#random.below(boxes)), device, number, `${device}/${number}`)
  }

  #trim(archive: Archive) {
    const of = box(this.#random.below(boxes))
    return { box: of, through: Math.max(0, archive.newestOf(of) - this.#random.below(60)) }
  }
}

const plain = (record: SentRecord | undefined) =>
  record && {
    ...record,
    id: Buffer.from(record.id).toString('hex'),
    digest: Buffer.from(record.digest).toString('hex'),
  }

/** Everything that an archive tells, comparable. */
async function told(archive: Archive, random: Random) {
  const inBoxes = Array.from({ length: boxes }, async (_, i) => {
    const waiting = allOf(archive.reader(box(i), random.below(archive.position + 2)))
    const read = await archive.read(waiting)
    const contents = read.map(
      (each) =>
        each && [each.position, Buffer.from(each.id).toString('hex'), Buffer.from(each.content).toString('latin1')],
    )
    return { waiting, contents, is: [archive.countOf(box(i)), archive.bytesOf(box(i)), archive.newestOf(box(i))] }
  })
  const byDevices = Array.from({ length: devices }, async (_, i) => {
    const sends = await archive.sends(i + 1)
    const numbers = Array.from({ length: archiveLimits.recentSends }, (_, back) => sends.highest - back)
    const old = Array.from({ length: 20 }, () => 1 + random.below(sends.highest + 2))
    return {
      highest: sends.highest,
      recent: numbers.map((number) => plain(sends.recent.get(number))),
      old: (await Promise.all(old.map((number) => archive.findSent(i + 1, number)))).map(plain),
      acknowledged: await archive.acknowledged(i + 1),
    }
  })
  const objects = kinds.map(async (kind) => {
    const found = await archive.scan(kind, { prefix: text('key'), limit: 100 })
    return found.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString('hex')])
  })
  return {
    position: archive.position,
    boxes: await Promise.all(inBoxes),
    devices: await Promise.all(byDevices),
    objects: await Promise.all(objects),
    occupied: [...archive.occupiedBoxes()].sort((one, other) => one.box - other.box),
  }
}

/** Folds what a closed storage left in its journal, in steps as the writer does, all of it or a part. */
function fold(folder: string, stepsMax: number, now: number): void {
  const database = openForWriting(path.join(folder, 'server.db'))
  const { position, journalRows, journalBytes } = readState(database)
  const folding = new Folding(database, journalRows, journalBytes)
  for (let step = 0; step < stepsMax && folding.idleMs < 10_000; step++) folding.step(position, now)
  database.close()
}

suite('whatever happens to an archive', () => {
  test('the one on SQLite tells what the one in memory tells, over restarts and folding', async () => {
    await using folder = await temporaryFolder()
    const random = randomFrom(seed)
    const steps = new Steps(random)
    let now = 1_000_000
    const memory = new MemoryArchive({ nowMs: () => now })
    for (let life = 0; life < 8; life++) {
      await using storage = await openSqliteIn(folder.path, { nowMs: () => now })
      const { archive } = storage
      const readers: [BoxReader, BoxReader][] = []
      for (let round = 0; round < 40; round++) {
        now += random.below(1000)
        const batch = Array.from({ length: 1 + random.below(12) }, () => steps.next(memory))
        const expected = await Promise.all(batch.map((step) => memory.step(step)))
        assert.deepEqual(await Promise.all(batch.map((step) => archive.step(step))), expected, `seed ${seed}`)
        const place = [box(random.below(boxes)), random.below(memory.position + 1)] as const
        readers.push([memory.reader(...place), archive.reader(...place)])
        for (const [one, other] of readers) {
          assert.deepEqual(other.peek(), one.peek(), `seed ${seed}`)
          if (random.below(3) > 0) continue
          one.advance()
          other.advance()
        }
        if (round % 10 !== 9) continue
        const look = random.below(2 ** 30)
        assert.deepEqual(await told(archive, randomFrom(look)), await told(memory, randomFrom(look)), `seed ${seed}`)
      }
      await storage[Symbol.asyncDispose]()
      fold(folder.path, life % 3 === 0 ? 1 : life % 3 === 1 ? 1000 : 0, now)
    }
    await using storage = await openSqliteIn(folder.path)
    assert.deepEqual(
      await told(storage.archive, randomFrom(seed)),
      await told(memory, randomFrom(seed)),
      `seed ${seed}`,
    )
  })

  test('I1 I7 K01 kill -9 at any time: a step that was told is there, and every step is there as a whole', async () => {
    await using folder = await temporaryFolder()
    const random = randomFrom(seed)
    const toldThrough = new Map<number, number>()
    for (let round = 0; round < 4; round++) {
      for (const { lane, number } of await crash(folder.path, 150 + random.below(500), seed + round))
        toldThrough.set(lane, number)
      await using storage = await openSqliteIn(folder.path)
      for (const [lane, number] of toldThrough) await verifyLane(storage, lane, number)
      const large = [...toldThrough.keys()].flatMap((lane) =>
        allOf(storage.archive.reader(box(lane), 0)).filter(({ bytes }) => bytes > 65_561),
      )
      await storage.archive.step({}) // behind what the start had to clear away
      const files = readdirSync(path.join(folder.path, 'content')).filter((name) => name !== 'incoming')
      assert.equal(files.length, large.length, `as many contents as messages that have one, seed ${seed}`)
      assert.deepEqual(readdirSync(path.join(folder.path, 'content', 'incoming')), [])
      await storage[Symbol.asyncDispose]()
      if (round % 2 === 0) fold(folder.path, 2, 0)
    }
  })
})

/** Each step of a lane is a message, the object that counts them, and perhaps a trim with the object that says so. */
async function verifyLane({ archive }: Storage, lane: number, told: number): Promise<void> {
  const counter = async (name: string): Promise<number> =>
    Number(Buffer.from((await archive.get('account', text(`${lane} ${name}`))) ?? '0').toString())
  const [count, trimmed] = [await counter('count'), await counter('trimmed')]
  assert(count >= told, `lane ${lane} was told of ${told} and has ${count}, seed ${seed}`)
  assert.equal((await archive.sends(lane + 1)).highest, count)
  assert.equal((await archive.findSent(lane + 1, told))?.number, told)
  assert.equal(await archive.acknowledged(lane + 1), count)
  const read = await archive.read(allOf(archive.reader(box(lane), 0)))
  const numbers = read.map(
    (each) =>
      Buffer.from(each?.content ?? '')
        .toString()
        .split(' ', 1)[0],
  )
  const expected = Array.from({ length: count - trimmed }, (_, i) => String(trimmed + 1 + i))
  assert.deepEqual(numbers, expected, `lane ${lane}, seed ${seed}`)
}

/** Runs the child for `ms` on the folder, kills it, and returns what it was told until then. */
async function crash(folder: string, ms: number, childSeed: number): Promise<ArchiveEvent[]> {
  const script = new URL('archive-child.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script, folder, String(childSeed)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const events: ArchiveEvent[] = []
  const lines = createInterface({ input: child.stdout })
  lines.once('line', () => setTimeout(() => child.kill('SIGKILL'), ms))
  lines.on('line', (line) => events.push(JSON.parse(line) as ArchiveEvent))
  await Promise.all([once(child, 'exit'), once(lines, 'close')])
  assert.equal(child.signalCode, 'SIGKILL')
  return events
}

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { archiveLimits, type SentRecord } from '../../src/archive.ts'
import { Acknowledgements } from '../../src/storage/acknowledgements.ts'
import { packSent } from '../../src/storage/deeds.ts'
import { DeviceSends } from '../../src/storage/devicesends.ts'
import { Generations } from '../../src/storage/generations.ts'
import type { AnswerTo, Question, QuestionKind } from '../../src/storage/questions.ts'
import { Senders } from '../../src/storage/senders.ts'
import { SentRun } from '../../src/storage/sentrun.ts'
import { newSendId } from './archiveworld.ts'
import { randomFrom, seed } from './world.ts'

const record = (device: number, number: number, position = 0): SentRecord => ({
  device,
  number,
  id: newSendId(),
  conversation: 1,
  sequence: number,
  position,
  at: position,
  digest: randomBytes(8),
})

/** Comparable, whatever holds the bytes. */
const plain = (each: SentRecord | undefined) =>
  each && { ...each, id: Uint8Array.from(each.id), digest: Uint8Array.from(each.digest) }

/** The same sends as a run; they have one device and one conversation, and their sequences follow each other. */
function runOf(records: readonly SentRecord[]): SentRun {
  const [{ device, conversation, sequence }] = records as [SentRecord]
  const run = new SentRun({ box: archiveLimits.firstBox, device, conversation, sequence }, 0)
  for (const { number, id, digest } of records) {
    run.add(number, id, 0)
    const halves = Buffer.from(digest)
    run.digest(halves.readUInt32LE(0), halves.readUInt32LE(4), 0) // of no bytes
  }
  return run
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** What is durable, and a reader thread that answers from it a little later than it is asked. */
class Disk {
  readonly records = new Map<number, SentRecord[]>()
  readonly acknowledged = new Map<number, number>()
  asked = 0
  isBroken = false

  add(sent: SentRecord): void {
    this.records.set(sent.device, [...(this.records.get(sent.device) ?? []), sent])
  }

  async ask<K extends QuestionKind>(question: Question & { readonly kind: K }): Promise<AnswerTo<K>> {
    this.asked += 1
    if (this.isBroken) throw new Error('not now')
    const answer = this.#answerTo(question) // what is durable when it is asked
    await turn()
    return answer as AnswerTo<K> // of the kind that was asked for
  }

  #answerTo(question: Question): unknown {
    if (question.kind === 'acknowledged') return this.acknowledged.get(question.device) ?? 0
    if (question.kind !== 'sends' && question.kind !== 'sent') throw new Error('nobody asks this')
    const records = this.records.get(question.device) ?? []
    if (question.kind === 'sent') return records.find(({ number }) => number === question.number)
    const highest = Math.max(0, ...records.map(({ number }) => number))
    return packSent(records.filter(({ number }) => number > highest - archiveLimits.recentSends))
  }
}

suite('what devices have sent', () => {
  test('however little is remembered, the newest are at hand, and everything is found', async () => {
    const random = randomFrom(seed)
    const disk = new Disk()
    const senders = new Senders(disk, 64)
    const next = new Map<number, number>()
    const place = new Map<number, number>()
    const underWay: SentRecord[] = []
    for (let i = 1; i < 4000; i++) {
      const device = 1 + random.below(20)
      const dice = random.below(10)
      if (dice < 4) {
        const count = dice === 0 ? 1 + random.below(10) : 1
        const begun = Array.from({ length: count }, () => {
          const number = (next.get(device) ?? 0) + 1 + (random.below(20) === 0 ? random.below(300) : 0)
          const sequence = (place.get(device) ?? 0) + 1
          next.set(device, number)
          place.set(device, sequence)
          return { ...record(device, number), sequence }
        })
        if (dice === 0) senders.beginRun(runOf(begun))
        else for (const sent of begun) senders.begin(sent.id, sent)
        underWay.push(...begun)
      } else if (dice < 7) {
        const settled = underWay.shift()
        if (settled === undefined) continue
        const accepted = { ...settled, position: i, at: i }
        disk.add(accepted)
        senders.accepted(accepted)
      } else if (dice === 7 && random.below(10) === 0) {
        for (const { device, number } of underWay.splice(0)) senders.refused(device, number)
      } else {
        const pending = senders.sends(device)
        if (random.below(2) === 0) await turn()
        const sends = await pending
        const own = [...(disk.records.get(device) ?? []), ...underWay.filter((each) => each.device === device)]
        const highest = Math.max(0, ...own.map(({ number }) => number))
        assert.equal(sends.highest, highest, `seed ${seed}`)
        for (const each of own) {
          const isRecent = each.number > highest - archiveLimits.recentSends
          const found = sends.recent.get(each.number)
          if (isRecent) assert.deepEqual(plain(found), plain(each), `seed ${seed}`)
          if (isRecent) assert.equal(sends.withId(each.id)?.number, each.number)
        }
        for (const [number, found] of sends.recent)
          assert.deepEqual(plain(own.find((each) => each.number === number)), plain(found))
        const any = own.filter(({ position }) => position > 0)
        if (any.length > 0) {
          const wanted = random.pick(any)
          assert.deepEqual(plain(await senders.find(device, wanted.number)), plain(wanted))
        }
      }
    }
    assert(disk.asked > 100, 'not everything was in memory')
  })

  test('whoever looks for a send that is under way is told what became of it', async () => {
    const disk = new Disk()
    const senders = new Senders(disk)
    const [one, two] = [record(1, 1), record(1, 2)]
    senders.begin(one.id, one)
    senders.begin(two.id, two)
    const finding = [senders.find(1, 1), senders.find(1, 1), senders.find(1, 2)]
    await turn()
    const accepted = { ...one, position: 9, at: 9 }
    senders.accepted(accepted)
    senders.refused(1, 2)
    assert.deepEqual((await Promise.all(finding)).map(plain), [accepted, accepted, undefined].map(plain))
    assert.equal((await senders.sends(1)).highest, 1)
  })

  test('one whose slot goes to a newer one while it is under way is known until it is settled, and both after a refusal', async () => {
    const disk = new Disk()
    const senders = new Senders(disk)
    const old = record(1, 1)
    const newer = record(1, 1 + archiveLimits.recentSends)
    senders.begin(old.id, old)
    senders.beginRun(runOf([newer]))
    const sends = await senders.sends(1)
    assert.equal(sends.highest, newer.number)
    assert(sends.has(1) && sends.has(newer.number) && !sends.has(2))
    assert.deepEqual(plain(sends.withId(old.id)), plain(old))
    const finding = senders.find(1, 1)
    const accepted = { ...old, position: 5, at: 5 }
    disk.add(accepted)
    senders.accepted(accepted)
    senders.refused(1, newer.number)
    assert.deepEqual(plain(await finding), plain(accepted))
    assert.equal(senders.peek(1), undefined, 'what the newer one has pushed out has to be read')
    const again = await senders.sends(1)
    assert.equal(again.highest, 1)
    assert.deepEqual(plain(again.withId(old.id)), plain(accepted))
    assert.equal(again.withId(newer.id), undefined)
  })

  test('the records of a device that sends once take little room, those of a busy one enough for the newest', () => {
    const sends = new DeviceSends(1)
    sends.add(record(1, 1, 1))
    assert.equal(sends.slots, 8)
    for (let number = 2; number < 3000; number++) sends.add(record(1, number, number))
    assert.equal(sends.slots, archiveLimits.recentSends)
    assert.equal(sends.recent.size, archiveLimits.recentSends)
    sends.add(record(1, 10, 3000))
    assert.equal(sends.recent.get(10), undefined, 'what is old does not push out what is new')
    assert.equal(sends.recent.get(0), undefined)
    assert.equal(sends.withId(new Uint8Array(16) as SentRecord['id']), undefined)
    const numbers: number[] = []
    sends.recent.forEach((_, number) => void numbers.push(number))
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      [...sends.recent.keys()].sort((a, b) => a - b),
    )
    assert.equal(sends.recent.has(2999) && !sends.recent.has(2999 - 256), true)
  })
})

suite('what devices have acknowledged', () => {
  test('what becomes durable while it is being read back is not lost', async () => {
    const disk = new Disk()
    disk.acknowledged.set(1, 5)
    const acknowledgements = new Acknowledgements(disk)
    const asking = acknowledgements.of(1)
    disk.acknowledged.set(1, 9)
    acknowledgements.acknowledged(1, 9)
    assert.equal(await asking, 9)
    acknowledgements.acknowledged(1, 7)
    assert.equal(await acknowledgements.of(1), 9)
    assert.equal(disk.asked, 1)
  })

  test('what is not remembered is read back', async () => {
    const disk = new Disk()
    const acknowledgements = new Acknowledgements(disk, 4)
    for (let round = 1; round < 4; round++)
      for (let device = 1; device < 40; device++) {
        acknowledgements.acknowledged(device, round)
        disk.acknowledged.set(device, round)
        assert.equal(await acknowledgements.of(device), round)
      }
    assert(disk.asked > 40)
  })

  test('what cannot be read back is asked for again the next time', async () => {
    const disk = new Disk()
    disk.isBroken = true
    const acknowledgements = new Acknowledgements(disk)
    await assert.rejects(acknowledgements.of(1), /not now/)
    disk.isBroken = false
    assert.equal(await acknowledgements.of(1), 0)
  })
})

suite('generations', () => {
  test('what was used lately is remembered, and no more than twice the weight is', () => {
    const generations = new Generations<number>(10, () => true)
    for (let key = 0; key < 100; key++) {
      generations.set(key, key)
      assert.equal(generations.get(5) ?? 5, 5)
    }
    assert.equal(generations.get(5), 5, 'it was used all the time')
    const known = Array.from({ length: 100 }, (_, key) => key).filter((key) => generations.get(key) !== undefined)
    assert(known.length <= 20 && known.length >= 9, `${known.length}`)
    assert(known.includes(99))
  })

  test('heavy ones push out more', () => {
    const generations = new Generations<number>(
      10,
      () => true,
      (weight) => weight,
    )
    generations.set(1, 1)
    generations.set(2, 10)
    assert.equal(generations.get(1), 1)
    for (let key = 3; key < 6; key++) generations.set(key, 10)
    assert.equal(generations.get(2), undefined)
  })

  test('what may not be forgotten yet stays until it may', () => {
    let mayForget = false
    const generations = new Generations<string>(4, (value) => value !== 'pinned' || mayForget)
    generations.set(1, 'pinned')
    for (let key = 2; key < 50; key++) generations.set(key, 'other')
    assert.equal(generations.get(1), 'pinned')
    mayForget = true
    for (let key = 50; key < 70; key++) generations.set(key, 'other')
    assert.equal(generations.get(1), undefined)
    generations.set(1, 'again')
    generations.forget(1)
    assert.equal(generations.get(1), undefined)
  })
})

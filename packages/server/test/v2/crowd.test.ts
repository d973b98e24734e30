import assert from 'node:assert/strict'
import { test } from 'node:test'
import { getHeapSpaceStatistics } from 'node:v8'
import { Crowd, type Seat } from '../../src/v2/crowd.ts'

const sorted = (numbers: readonly number[]): number[] => numbers.toSorted((one, other) => one - other)

test('whoever leaves is gone and everybody else stays, in whatever order they leave', () => {
  const crowd = new Crowd<number>()
  const seats = Array.from({ length: 100 }, (_, i) => crowd.enter(i))
  const left = new Set<number>()
  for (let i = 0; i < seats.length; i++) {
    const seat = seats[(i * 37) % 100] as Seat<number>
    crowd.leave(seat)
    left.add(seat.member)
    const staying = seats.map(({ member }) => member).filter((member) => !left.has(member))
    assert.deepEqual(sorted(crowd.members()), staying)
    assert.equal(crowd.size, staying.length)
  }
  assert.equal(crowd.first(), undefined)
})

test('nobody leaves twice', () => {
  const crowd = new Crowd<string>()
  const [alice] = [crowd.enter('alice'), crowd.enter('bob')]
  crowd.leave(alice)
  assert.throws(() => crowd.leave(alice), /twice/)
  assert.deepEqual(crowd.members(), ['bob'])
})

const memberBytes = 4096
const member = (): number[] => new Array(memberBytes / 8).fill(1)

/** Has members come, stay for a moment and go. */
function comeAndGo(crowd: Crowd<number[]>, count: number, each: () => void): void {
  const present: Seat<number[]>[] = []
  for (let i = 0; i < count; i++) {
    present.push(crowd.enter(member()))
    if (present.length > 64) crowd.leave(present.shift() as Seat<number[]>)
    each()
  }
  for (const seat of present) crowd.leave(seat)
}

test('what was there for a moment does not wait for a full collection, also if the crowd is old', () => {
  const oldBytes = (): number =>
    getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')?.space_used_size ?? 0
  const crowd = new Crowd<number[]>()
  const stays = crowd.enter(member())
  for (let i = 0; i < 100_000; i++) member() // while the crowd grows old
  let [before, grown] = [oldBytes(), 0]
  comeAndGo(crowd, 50_000, () => {
    const now = oldBytes()
    grown += Math.max(0, now - before) // what a full collection takes away counts as well
    before = now
  })
  crowd.leave(stays)
  assert.ok(grown < 2000 * memberBytes, `of 50 000 members of 4096 bytes ${grown} bytes have grown old`)
})

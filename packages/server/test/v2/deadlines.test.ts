import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Deadlined, Deadlines, type Watched } from '../../src/v2/deadlines.ts'

const tickMs = 10

interface Clock {
  now: number
}

/** Deadlines on a clock that stands still until the test moves it; the timer of their own does not come into it. */
function onClock(clock: Clock): Deadlines {
  return new Deadlines(() => clock.now, tickMs)
}

/** Notes when it expired. */
function watched(clock: Clock, deadline: number, onExpire: (each: Deadlined) => void = () => {}) {
  const expired: number[] = []
  const each = {
    deadline,
    watched: undefined as Watched | undefined,
    expired,
    expire() {
      expired.push(clock.now)
      onExpire(each)
    },
  }
  return each
}

/** Moves the clock in small steps. */
function pass(deadlines: Deadlines, clock: Clock, ms: number): void {
  for (const until = clock.now + ms; clock.now < until; ) {
    clock.now += 3
    deadlines.advance()
  }
}

test('nothing expires early, and everything within two ticks, however far away it is', () => {
  const clock = { now: 1234 }
  using deadlines = onClock(clock)
  const all = Array.from({ length: 1000 }, (_, i) => watched(clock, clock.now + ((i * 7919) % 6000)))
  for (const each of all) deadlines.watch(each)
  for (let step = 0; step < 2100; step++) {
    clock.now += 3
    for (let again = 0; again < 9; again++) deadlines.advance() // a crowd takes several turns
  }
  for (const { deadline, expired } of all) {
    assert.equal(expired.length, 1)
    const late = (expired[0] as number) - deadline
    assert.ok(late >= 0 && late <= 2 * tickMs, `${late} ms late`)
  }
})

test('a deadline that was put off is noticed by itself, one that was brought forward when it is watched again', () => {
  const clock = { now: 0 }
  using deadlines = onClock(clock)
  const later = watched(clock, 50)
  const earlier = watched(clock, 2000)
  deadlines.watch(later)
  deadlines.watch(earlier)
  later.deadline = 500
  earlier.deadline = 100
  deadlines.watch(earlier)
  pass(deadlines, clock, 400)
  assert.equal(later.expired.length, 0)
  assert.equal(earlier.expired.length, 1)
  pass(deadlines, clock, 200)
  assert.equal(later.expired.length, 1)
})

test('what sets a new deadline when it expires is watched on', () => {
  const clock = { now: 0 }
  using deadlines = onClock(clock)
  const again = watched(clock, 100, (each) => {
    each.deadline = clock.now + 100
  })
  deadlines.watch(again)
  pass(deadlines, clock, 1050)
  assert.ok(again.expired.length >= 8 && again.expired.length <= 10)
})

test('what was forgotten, or has no end, never expires', () => {
  const clock = { now: 0 }
  using deadlines = onClock(clock)
  const forgotten = watched(clock, 100)
  const endless = watched(clock, Number.POSITIVE_INFINITY)
  deadlines.watch(forgotten)
  deadlines.watch(endless)
  deadlines.forget(forgotten)
  deadlines.forget(forgotten)
  pass(deadlines, clock, 10_000)
  assert.deepEqual([forgotten.expired, endless.expired], [[], []])
  endless.deadline = clock.now + 20
  deadlines.watch(endless)
  pass(deadlines, clock, 60)
  assert.equal(endless.expired.length, 1)
})

test('after the process stood still for an hour, everything that is due expires at once and the rest in time', () => {
  const clock = { now: 0 }
  using deadlines = onClock(clock)
  const due = Array.from({ length: 60 }, (_, i) => watched(clock, i * 100))
  const later = watched(clock, 3_600_500)
  for (const each of [...due, later]) deadlines.watch(each)
  clock.now = 3_600_000
  deadlines.advance()
  assert.equal(due.filter(({ expired }) => expired.length === 1).length, due.length)
  assert.equal(later.expired.length, 0)
  pass(deadlines, clock, 600)
  assert.equal(later.expired.length, 1)
})

test('I6 a crowd that expires at the same moment is worked off in parts, with turns for others in between', async () => {
  const clock = { now: 0 }
  using deadlines = onClock(clock)
  const crowd = Array.from({ length: 1000 }, () => watched(clock, 55))
  for (const each of crowd) deadlines.watch(each)
  clock.now = 70
  deadlines.advance()
  const gone = (): number => crowd.filter(({ expired }) => expired.length === 1).length
  const atOnce = gone()
  assert.ok(atOnce > 0 && atOnce <= 128, `${atOnce} at once`)
  for (let turns = 0; turns < 20 && gone() < crowd.length; turns++)
    await new Promise((resolve) => setImmediate(resolve))
  assert.equal(gone(), crowd.length)
})

test('what expires may forget and watch others', () => {
  const clock = { now: 0 }
  using deadlines = onClock(clock)
  const victim = watched(clock, 55)
  const heir = watched(clock, 200)
  const first = watched(clock, 55, () => {
    deadlines.forget(victim)
    deadlines.watch(heir)
  })
  deadlines.watch(first)
  deadlines.watch(victim)
  pass(deadlines, clock, 300)
  assert.deepEqual([first.expired.length, victim.expired.length, heir.expired.length], [1, 0, 1])
})

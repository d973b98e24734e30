import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Admission } from '../../src/v3/admission.ts'
import { Bucket, Rates } from '../../src/v3/rates.ts'

suite('a rate', () => {
  test('lets a burst through at once, then so many a second, and says how long to wait', () => {
    const bucket = new Bucket({ perSecond: 10, burst: 3 }, 0)
    assert.deepEqual([bucket.take(0), bucket.take(0), bucket.take(0)], [0, 0, 0])
    assert.equal(bucket.take(0), 100)
    assert.equal(bucket.take(40), 60)
    assert.equal(bucket.take(100), 0)
    assert.equal(bucket.take(100), 100)
  })

  test('never saves up more than a burst, and does not run backwards with the clock', () => {
    const bucket = new Bucket({ perSecond: 10, burst: 2 }, 1000)
    for (let i = 0; i < 2; i++) bucket.take(1000)
    assert.equal(bucket.take(500), 100)
    assert.deepEqual([bucket.take(1e9), bucket.take(1e9)], [0, 0])
    assert(bucket.take(1e9) > 0)
  })

  test('is remembered for a bounded number, the quiet ones are forgotten first', () => {
    const rates = new Rates<string>({ perSecond: 1, burst: 1 }, 3)
    rates.of('busy', 0).take(0)
    rates.of('quiet', 0)
    rates.of('busy too', 0).take(0)
    rates.of('new', 0)
    assert.equal(rates.size, 3)
    assert(rates.of('busy', 0).take(0) > 0, 'its bucket is still empty')
    rates.of('busy too', 0).take(0)
    rates.of('new', 0).take(0)
    rates.of('another', 0)
    assert.equal(rates.size, 3)
    assert.equal(rates.of('busy', 0).take(0), 0, 'where all are busy, the oldest is forgotten')
  })
})

suite('connections are admitted', () => {
  test('up to so many of an address and so many in all, and places are given back', () => {
    const admission = new Admission({ perSource: 2, total: 4 }, (remote) => remote === 'here')
    assert.deepEqual(
      ['a', 'a', 'a'].map((remote) => admission.enter(remote)),
      [true, true, false],
    )
    assert.deepEqual(
      ['here', 'here', 'here'].map((remote) => admission.enter(remote)),
      [true, true, false],
    )
    admission.leave('here')
    assert(admission.enter('b'))
    admission.leave('a')
    assert(admission.enter('a'))
    assert(!admission.enter('a'))
  })

  test('by the network that one subscriber has, for who has more addresses than anybody can count', () => {
    const admission = new Admission({ perSource: 1, total: 9 }, () => false)
    assert(admission.enter('2001:db8:0:1::1'))
    assert(!admission.enter('2001:db8:0:1:ffff::2'))
    assert(admission.enter('2001:db8:0:2::1'))
    admission.leave('2001:db8:0:1::1')
    assert(admission.enter('2001:db8:0:1::3'))
  })
})

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { limits } from '@messageu/protocol/v3'
import { Signs } from '../../src/v3/signs.ts'

const beat = limits.heartbeatMs
const messageMs = 10 * beat

suite('signs of life', () => {
  test('N02: who is silent is asked once after half of the time, and given up at its end', () => {
    const signs = new Signs(0, messageMs)
    assert.deepEqual(signs.look({ nowMs: beat - 1, bytesRead: 0, isReading: true }), {
      isOver: false,
      ask: false,
      dueMs: beat,
    })
    const seen = { bytesRead: 0, isReading: true }
    assert.deepEqual(signs.look({ ...seen, nowMs: beat }), { isOver: false, ask: true, dueMs: 2 * beat })
    assert.deepEqual(signs.look({ ...seen, nowMs: 2 * beat - 1 }), { isOver: false, ask: false, dueMs: 2 * beat })
    assert.deepEqual(signs.look({ ...seen, nowMs: 2 * beat }), { isOver: true })
  })

  test('an answer begins everything anew', () => {
    const signs = new Signs(0, messageMs)
    signs.look({ nowMs: beat, bytesRead: 0, isReading: true })
    signs.heard(beat + 5)
    assert.deepEqual(signs.look({ nowMs: 2 * beat, bytesRead: 9, isReading: true }), {
      isOver: false,
      ask: false,
      dueMs: 2 * beat + 5,
    })
  })

  test('while we are the slow side nobody is given up', () => {
    const signs = new Signs(0, messageMs)
    for (let nowMs = beat; nowMs <= 20 * beat; nowMs += beat)
      assert(!signs.look({ nowMs, bytesRead: 0, isReading: false }).isOver)
  })

  test('W06: bytes of a message are a sign, but not of one that never ends', () => {
    const signs = new Signs(0, messageMs)
    let ended = 0
    for (let nowMs = beat; ended === 0 && nowMs < 30 * beat; nowMs += beat)
      if (signs.look({ nowMs, bytesRead: nowMs, isReading: true }).isOver) ended = nowMs
    assert.equal(ended, messageMs)
  })
})

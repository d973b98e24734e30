import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Hello } from '@messageu/protocol/v3'
import { v3Limits } from '../../src/v3/limits.ts'
import { type Ending, endings, next, type SessionEvent, type SessionState } from '../../src/v3/session.ts'

const greeted: SessionState = {
  phase: 'greeted',
  hello: {} as Hello, // nobody looks at it here
  asks: 0,
} as SessionState
const proving: SessionState = { phase: 'proving' }
const open: SessionState = { phase: 'open' }
const leaving: SessionState = { phase: 'leaving', why: 'stopping' }
const closing: SessionState = { phase: 'closing', why: 'busy' }

suite('a session', () => {
  test('opens by one proof that holds', () => {
    const judged: SessionState = next(greeted, { kind: 'proof' })
    assert.deepEqual(judged, proving)
    assert.deepEqual(next(judged, { kind: 'proved' }), open)
  })

  test('is never open without a proof, whatever happens', () => {
    const others: SessionEvent[] = [
      { kind: 'ask' },
      { kind: 'proved' },
      { kind: 'late' },
      { kind: 'stop' },
      { kind: 'idle' },
    ]
    for (const event of others) assert.notEqual(next(greeted, event).phase, 'open', event.kind)
  })

  test('uses its hello for one proof only', () => {
    assert.deepEqual(next(proving, { kind: 'proof' }), proving)
    assert.deepEqual(next(open, { kind: 'proof' }), open)
  })

  test('may ask a few things before its proof, and then ends', () => {
    let state = greeted
    const ask: SessionEvent = { kind: 'ask' }
    for (let i = 0; i < v3Limits.asksBeforeProofMax; i++) state = next(state, ask)
    assert.equal(state.phase, 'greeted')
    assert.deepEqual(next(state, { kind: 'ask' }), { phase: 'closing', why: 'limited' })
  })

  test('has a time for its proof, in which our own judging does not count', () => {
    assert.deepEqual(next(greeted, { kind: 'late' }), { phase: 'closing', why: 'timeout' })
    assert.deepEqual(next(proving, { kind: 'late' }), proving)
    assert.deepEqual(next(open, { kind: 'late' }), open)
  })

  test('answers what is under way when the server stops, if it is open, and else ends at once', () => {
    assert.deepEqual(next(open, { kind: 'stop' }), leaving)
    assert.deepEqual(next(leaving, { kind: 'idle' }), { phase: 'closing', why: 'stopping' })
    assert.deepEqual(next(open, { kind: 'idle' }), open)
    const early: SessionState[] = [greeted, proving]
    for (const state of early) assert.equal(next(state, { kind: 'stop' }).phase, 'closing')
  })

  test('ends for every reason from every phase, and keeps the first', () => {
    const every: SessionState[] = [greeted, proving, open, leaving]
    for (const why of Object.keys(endings) as Ending[])
      for (const each of every) assert.deepEqual(next(each, { kind: 'end', why }), { phase: 'closing', why })
    assert.deepEqual(next(closing, { kind: 'end', why: 'timeout' }), closing)
    assert.deepEqual(next(closing, { kind: 'stop' }), closing)
  })
})

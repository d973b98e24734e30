import assert from 'node:assert/strict'
import { test } from 'node:test'
import { beginDelivery, type DeliveryEvent, next } from '../../src/v2/delivery.ts'

const events: readonly DeliveryEvent[] = [
  'written',
  'peer-ended',
  'hold-over',
  'settle-over',
  'probed',
  'closed',
  'failed',
]

/** The rule of protocol 2 §8 as it is written there: these things happened, in this order, before anything went wrong. */
function wasDelivered(history: readonly DeliveryEvent[]): boolean {
  const ended = history.findIndex((event) => event === 'closed' || event === 'failed')
  if (ended < 0 || history[ended] === 'failed') return false
  const before = history.slice(0, ended)
  const after = (event: DeliveryEvent, place: number): number =>
    before.findIndex((each, i) => i > place && each === event)
  const written = before.indexOf('written')
  const peerEnded = before.indexOf('peer-ended')
  if (written < 0 || peerEnded < 0) return false
  const holdOver = after('hold-over', written)
  const held = holdOver >= 0 && peerEnded > holdOver // the peer did not end while the sending side was held open
  const settled = held ? holdOver : after('settle-over', Math.max(written, peerEnded))
  return settled >= 0 && after('probed', settled) >= 0
}

function* histories(length: number): Generator<DeliveryEvent[]> {
  if (length === 0) {
    yield []
    return
  }
  for (const history of histories(length - 1)) for (const event of events) yield [...history, event]
}

test('G03 every history of up to 6 events is judged as the rule says, and never judged twice', () => {
  let delivered = 0
  for (let length = 0; length <= 6; length++)
    for (const history of histories(length)) {
      let delivery = beginDelivery
      for (const event of history) {
        const before = delivery
        delivery = next(before, event)
        if (before.phase === 'judged') assert.equal(delivery, before)
      }
      const verdict = delivery.phase === 'judged' && delivery.delivered
      if (verdict !== wasDelivered(history)) assert.fail(`${history.join(', ')}: ${verdict}`)
      if (verdict) delivered += 1
    }
  assert.ok(delivered > 100, 'the rule lets some histories through')
})

test('G03 whatever happened before, a failure or a close ends the matter', () => {
  for (let length = 0; length <= 4; length++)
    for (const history of histories(length))
      for (const last of ['failed', 'closed'] as const)
        assert.equal([...history, last].reduce(next, beginDelivery).phase, 'judged')
})

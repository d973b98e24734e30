/**
 * Decides whether a fetch was delivered, so that its messages may be forgotten. Protocol 2 §8.
 *
 * The version 2 protocol has no acknowledgement: the only sign that a client has read everything is how it closes the
 * connection. A callback of the last write says that the bytes are with our own system, no more; a client that closes
 * early resets the connection, but after our own end Node no longer sees that. So, in this order: the last byte was
 * handed over; the sending side stays open until the peer's end or `hold`, and `settle` longer for a reset that
 * follows it; a write of no bytes still succeeds; then our end, and then the peer's end and a close without an error.
 * The obvious rule, "the last write succeeded and the peer closed", lost 101 of 480 interrupted fetches.
 *
 * `hold` grows with the answer: a client that is killed while bytes are on a slow way ends in good order first and resets
 * when the next of them arrive. A client that ends its side before it has read everything, lives on for longer than
 * `settle` and then breaks cannot be told from one that read it all.
 */
export type Delivery =
  | { phase: 'writing'; peerEnded: boolean }
  | { phase: 'holding' }
  | { phase: 'settling' }
  | { phase: 'probing'; peerEnded: boolean }
  | { phase: 'closing'; peerEnded: boolean }
  | { phase: 'judged'; delivered: boolean }

export type DeliveryEvent =
  | 'written' // the callback of the last byte's write
  | 'peer-ended' // the peer's end of stream
  | 'hold-over'
  | 'settle-over'
  | 'probed' // the write of no bytes succeeded
  | 'closed' // the connection is gone, without an error
  | 'failed' // an error, or a deadline

export const beginDelivery: Delivery = { phase: 'writing', peerEnded: false }

const lost: Delivery = { phase: 'judged', delivered: false }

/** The delivery after `event`. What each phase asks for is done by whoever owns the socket. */
export function next(delivery: Delivery, event: DeliveryEvent): Delivery {
  if (delivery.phase === 'judged') return delivery
  if (event === 'failed') return lost
  switch (delivery.phase) {
    case 'writing':
      if (event === 'peer-ended') return { phase: 'writing', peerEnded: true }
      if (event === 'written') return delivery.peerEnded ? { phase: 'settling' } : { phase: 'holding' }
      return event === 'closed' ? lost : delivery
    case 'holding':
      if (event === 'peer-ended') return { phase: 'settling' }
      if (event === 'hold-over') return { phase: 'probing', peerEnded: false }
      return event === 'closed' ? lost : delivery
    case 'settling':
      if (event === 'settle-over') return { phase: 'probing', peerEnded: true }
      return event === 'closed' ? lost : delivery
    case 'probing':
      if (event === 'peer-ended') return { phase: 'probing', peerEnded: true }
      if (event === 'probed') return { phase: 'closing', peerEnded: delivery.peerEnded }
      return event === 'closed' ? lost : delivery
    case 'closing':
      if (event === 'peer-ended') return { phase: 'closing', peerEnded: true }
      return event === 'closed' ? { phase: 'judged', delivered: delivery.peerEnded } : delivery
  }
}

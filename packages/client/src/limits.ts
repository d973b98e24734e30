import { limits as protocol } from '@messageu/protocol/v3'

/** What a client allows itself and its server, beside the limits of the protocol. Bytes and milliseconds. */
export const limits = {
  /** From the first packet to the server's first words. */
  greetingMs: 20_000,
  /** Protocol 3 §3.5: how long the server may take to answer a proof. */
  provingMs: protocol.proofMs,
  /** Protocol 3 §3.6: silence after which the server is asked for a sign, and after which it is gone. */
  quietMs: protocol.heartbeatMs,
  silentMs: 2 * protocol.heartbeatMs,
  /** For the answer to one request, as long as the server gives signs. */
  answerMs: 60_000,

  /** Between two attempts to connect: the first is somewhere below `backoffMinMs`, none beyond `backoffMaxMs`. */
  backoffMinMs: 1_000,
  backoffMaxMs: 60_000,
  /** A server may not ask us to stay away for longer. */
  retryAfterMaxMs: 3_600_000,
  /** A session that lasted this long was a good one: the next attempt comes soon. */
  steadyMs: 30_000,

  /** Requests that wait for a place among the outstanding ones, and bytes of requests under way. */
  queuedMax: 4_096,
  outstandingBytesMax: 16 * 2 ** 20,

  /** Deliveries under way to us, in messages and bytes: one of the largest has room beside many small ones. */
  windowMessages: 512,
  windowBytes: 8 * 2 ** 20,
  /** Deliveries that are stored in one step. */
  batchMessagesMax: 128,
  batchBytesMax: 2 ** 20,

  /** Sends and commits without an answer. */
  unansweredMax: 4_096,
  unansweredBytesMax: 64 * 2 ** 20,

  /** People that one listing may have, and names that are pinned. */
  peopleMax: 100_000,
  pinsMax: 100_000,
} as const

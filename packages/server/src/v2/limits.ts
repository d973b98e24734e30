/**
 * How patient and how generous the version 2 listener is. Durations in milliseconds. docs/protocol-v2.md §8 and §9 say
 * the same in words.
 */
export const v2Limits = {
  /** Header and fixed part of a request. */
  headMs: 10_000,
  /** The slowest peer that is served, in either direction: 16 KiB/s. */
  slowestBytesPerMs: 16 * 1.024,
  /** Content: this much, and more by its size. */
  contentMs: 10_000,
  /** Silence inside a content. */
  silenceMs: 10_000,
  /** What a peer may take to close after an answer. */
  goodbyeMs: 10_000,
  /** What a refused peer may go on sending, so that the refusal is not destroyed by a reset. */
  drainBytesMax: 2 ** 30,
  drainSilenceMs: 10_000,
  drainMs: 60_000,

  /** How long the sending side stays open after a fetch, for a peer that is not on this machine; more by its size. */
  holdMs: 3_000,
  /** What our own system may still have to send of an answer that it took over; on fast lines more, but not for long. */
  systemBufferBytesMax: 2 ** 20,
  /** How long a reset may take to arrive after the peer's end, for a peer that is not on this machine. */
  settleMs: 500,
  /** From our end of a fetch to the peer's. */
  closeMs: 30_000,
  /** An answer of which nothing more leaves is given up; the whole of it may take this much, and more by its size. */
  writeSilenceMs: 30_000,
  /** How long a fetch waits for another one of the same mailbox. */
  turnMs: 60_000,

  /** Connections of one address, unless it is this machine. */
  connectionsPerAddressMax: 256,
  /** Connections in all; fewer where the process may open fewer files. */
  connectionsMax: 10_000,
  /** Connections over a limit that are told so at the same time; further ones are closed without a word. */
  refusalsAtOnceMax: 256,
  /** Contents that are on their way into or out of files at the same time. */
  transfersMax: 256,
  /** Small contents that are being received, all together. */
  bufferedBytesMax: 64 * 2 ** 20,
  /** Pieces of one answer that are handed to the network at the same time. */
  piecesUnderWayMax: 3,
  /** Answers to what one commit has settled that are given in one turn of the event loop. */
  answersPerTurn: 16,
} as const

export type V2Limits = { readonly [K in keyof typeof v2Limits]: number }

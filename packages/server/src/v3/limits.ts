/**
 * How patient and how generous the listener of version 3 is; what every peer may count on stands in the protocol's own
 * limits. Sizes in bytes, durations in milliseconds.
 */
export const v3Limits = {
  /** Connections of one address, unless it is this machine. */
  connectionsPerAddressMax: 256,
  /** Connections in all; fewer where the process may open fewer files. */
  connectionsMax: 65_536,
  /** Connections over a limit that are told so at the same time; further ones are closed without a word. */
  refusalsAtOnceMax: 256,
  /** What a peer over a limit is asked to wait. */
  retryAfterMs: 5_000,

  /** The TLS handshake, and the head of a request. */
  headMs: 10_000,
  /** A whole request, its body included: nothing that is served here has one. */
  requestMs: 15_000,
  /** Silence between two requests on one connection. */
  betweenRequestsMs: 5_000,
  headBytesMax: 16_384,
  /** How exact deadlines are. */
  tickMs: 250,
  /** What a peer may take to close after we did. */
  goodbyeMs: 3_000,
  /** From the first byte of a WebSocket message to its last: 16 KiB/s for the largest. */
  messageMs: 384_000,
  /** Pieces that one message may come in. */
  fragmentsMax: 1024,
  chunksMax: 65_536,

  /** What one connection may ask before it is proved. */
  asksBeforeProofMax: 16,
  /** Requests of one address that need no proof, each second and at once; unlimited for this machine. */
  strangerRate: { perSecond: 20, burst: 200 },
  /** Addresses and devices whose rates are remembered. */
  ratesMax: 100_000,

  /** Unsent to one peer: above the first nothing more is read from it, above the second its session ends. */
  backlogBytesMax: 2 ** 20,
  backlogBytesEnd: 64 * 2 ** 20,
  /** A backlog that has fallen to here has room again. */
  backlogBytesLow: 2 ** 18,
  /** Requests of all sessions that are being served. */
  underWayBytesMax: 256 * 2 ** 20,

  /** After a stop clients come back within this time, or longer if there are many of them. */
  comeBackMs: 2_000,
  comeBackEachMs: 3,
} as const

export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** The limits as a listener runs with them. */
export type V3Limits = {
  readonly [N in keyof typeof v3Limits]: (typeof v3Limits)[N] extends number ? number : Rate
} & {
  /** Requests of one device. */
  readonly deviceRate: Rate
}

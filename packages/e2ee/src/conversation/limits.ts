import { limits as protocolLimits } from '@messageu/protocol/v3'

/** What the conversation part adds to the protocol's limits. Sizes in bytes, durations in milliseconds. */
export const limits = {
  ...protocolLimits,
  /** Leaves of a tree of 500 devices, rounded up to a power of two; nodes between them. */
  leafWidthMax: 512,
  treeNodesMax: 1023,
  /** §6.4: devices that one commit adds. */
  addsPerCommitMax: 50,
  /** Epochs before the present one whose messages can still be opened: the server takes none that is older. */
  earlierEpochsMax: protocolLimits.epochsBehindMax,
  /** Keys kept for messages of one sender that were passed over, and how far one message may jump ahead. */
  skippedKeysMax: 256,
  forwardStepsMax: 4000,
  /** Secrets and authenticators: SHA-512 is the longest hash of any suite. */
  secretBytesMax: 64,
  /** §5.4: how long a key package may be good for, from its making on. */
  packageLifeMsMax: 90 * 86_400_000,
  /** How far the clock of whoever made a key package may be ahead. */
  clockSkewMs: 24 * 3_600_000,
  /** Content and header together once padded: what is left of `sealedBytesMax` is the engine's. */
  paddedBytesMax: 63 * 4096,
  /** A text in one message. */
  textBytesMax: 200_000,
  /** A title of a conversation. */
  titleBytesMax: 512,
  /** Messages that one content names or holds. */
  idsPerContentMax: 1000,
  /** Incarnations of the server that one content names. */
  countsMax: 64,
  /** Devices of members that speak for an account that leaves, in one commit. */
  departuresPerCommitMax: 10,
} as const

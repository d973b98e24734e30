/** Bounds of protocol version 2, in bytes unless the name says otherwise. docs/protocol-v2.md §7. */
export const limits = {
  idBytes: 16,
  nameFieldBytes: 255,
  nameCodePointsMin: 2,
  publicKeyBytes: 160,
  /** §2: a request that announces more is refused at its header. */
  payloadBytesMax: 2 ** 30,
  /** §5: what is left of the largest payload after the 21 bytes in front of a content. */
  contentBytesMax: 2 ** 30 - 21,
  /** §4: a response announces its payload in 32 bits. */
  responsePayloadBytesMax: 2 ** 32 - 1,
  /** §6: an encrypted AES key. */
  keyContentBytes: 128,
} as const

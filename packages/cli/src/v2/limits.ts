import { limits as wire } from '@messageu/protocol/v2'

/** What our version 2 client holds, waits for and believes; in bytes unless the name says otherwise. */
export const limits = {
  /** An answer that is held in memory: a list of about 247,000 people. */
  answerBytesMax: 64 * 2 ** 20,
  /** A longer text is saved as a file instead of being shown. */
  textShownBytesMax: 8 * 2 ** 20,
  /** A text of ours; what is longer travels as a file. */
  textSentBytesMax: 64 * 2 ** 20,
  /** The padding takes 1 to 16 bytes and fills whole blocks. */
  plainFileBytesMax: Math.floor(wire.contentBytesMax / 16) * 16 - 1,
  /** Left free on the disk when a fetch is taken in. */
  diskFloorBytes: 64 * 2 ** 20,
  /** AES keys remembered per person, the newest first: older messages may still be on their way. */
  keysPerPersonMax: 4,
  peopleMax: 10_000,
  /** Messages whose repetition is recognised. */
  shownMax: 10_000,
  /** Messages that wait for their key. */
  keptMessagesMax: 1000,
  keptMessagesPerSenderMax: 100,
  keptBytesMax: 4 * 2 ** 30,
  fileNameBytesMax: 100,
  stateBytesMax: 64 * 2 ** 20,
} as const

export interface Deadlines {
  readonly connectMs: number
  /** Without a byte in either direction. */
  readonly silenceMs: number
  /** For the server's end, once we have everything. */
  readonly closeMs: number
}

export const deadlines: Deadlines = { connectMs: 10_000, silenceMs: 30_000, closeMs: 5000 }

/** A slower answer is given up: one second more than the silence for each of these. */
export const slowestBytesPerSecond = 1024

/** A server has to write a large content to its disk before it answers: one second more for each of these. */
export const answerBytesPerSecond = 16 * 2 ** 20

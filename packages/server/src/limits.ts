/** What one server holds at most. Sizes in bytes, durations in milliseconds; `serve` may lower or raise some. */
export const limits = {
  /** Content above this goes to a file, up to this it lies in the message's row. */
  contentInRowBytesMax: 65_536,
  /** All version 2 clients together: their list, names and keys are held in memory (about 0.6 KiB each). */
  clientsMax: 100_000,
  /** Waiting in one mailbox. */
  mailboxBytesMax: 16 * 2 ** 30,
  mailboxMessagesMax: 1_000_000,
  /** Waiting in all mailboxes: 14 bytes of memory each. */
  waitingMessagesMax: 4_000_000,
  /** Share of the disk that is left free: below it nothing new is taken in, and fetches go on. */
  diskReserveShare: 0.05,
  /** Damaged messages in one mailbox that a fetch steps over; beyond that it is refused. */
  damagedPerMailboxMax: 1000,

  /** The ring between the main thread and the writer, which is also the cache of young messages. */
  ringBytes: 16 * 2 ** 20,
  /** Records that wait until the ring has room. */
  queuedBytesMax: 64 * 2 ** 20,
  /** One transaction. */
  commitBytesMax: 2 ** 19,
} as const

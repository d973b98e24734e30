/** What version 3 allows. Sizes in bytes, durations in milliseconds. Protocol 3 §11. */
export const limits = {
  /** §1.2: the minor versions that this program speaks. */
  minorMin: 0,
  minorMax: 0,

  /** §2.1: one frame, its head included; also the largest WebSocket message. */
  frameBytesMax: 6 * 2 ** 20,
  /** §2.1: frames in one WebSocket message: more than all credit and all outstanding requests together. */
  framesPerMessageMax: 16_384,
  /** §2.2: requests of one session without an answer yet. */
  outstandingMax: 256,
  /** §2.4: the explanation in a refusal. */
  explanationBytesMax: 512,

  /** §3.2: host as dialled, with its port. */
  hostBytesMax: 300,
  /** §3.5: for the proof, from the opening of the WebSocket on. */
  proofMs: 10_000,
  /** §3.6: silence after which the server asks whether the peer is there; twice this long without a sign, it is gone. */
  heartbeatMs: 30_000,

  /** §4.2: a name, in code points and in bytes of UTF-8. */
  nameCharactersMin: 2,
  nameCharactersMax: 64,
  nameBytesMax: 256,
  /** §4.3: devices on a list at one time. */
  devicesPerAccountMax: 10,
  /** §4.3: entries of a list that a manager key signs, and of all: the words always have room for theirs. */
  managerEntriesMax: 1000,
  listEntriesMax: 1200,
  listEntryBytesMax: 2048,
  /** §5.2: entries, people or conversations in one answer. */
  pageMax: 100,

  /** §5.4: an MLS KeyPackage, and how many of them a device keeps at the server. */
  keyPackageBytesMax: 16_384,
  keyPackagesPerDeviceMax: 100,
  /** §5.4: claims of one account by another in a day, as a stranger and as a contact. */
  strangerClaimsPerDay: 5,
  contactClaimsPerDay: 500,
  /** §5.4: below this many single-use packages the owner is told. */
  keyPackagesLow: 30,

  /** §6: an application message as it is sealed; a commit with all that comes with it. */
  sealedBytesMax: 262_144,
  handshakeBytesMax: 4 * 2 ** 20,
  /** §7.1: the largest handshake object with what is delivered around it: the roster above all. */
  deliveredBytesMax: 4 * 2 ** 20 + 8192,
  devicesPerConversationMax: 500,
  welcomesPerCommitMax: 50,
  /** §6.6: an application message may be sealed for an epoch this far behind. */
  epochsBehindMax: 3,
  /** §6: conversations of one account. */
  conversationsPerAccountMax: 10_000,

  /** §7.2: what may be under way to one session. */
  creditMessagesMax: 10_000,
  creditBytesMax: 16 * 2 ** 20,
  /** §7.5: how long what is not acknowledged is kept. */
  retentionMs: 45 * 86_400_000,
  handshakeRetentionMs: 90 * 86_400_000,
  /** §6.5: how much longer the server knows that it accepted a send. */
  acceptedMs: (45 + 7) * 86_400_000,

  /** §8: towards an account that has not accepted the sender. */
  strangerMessagesMax: 64,
  strangerBytesMax: 2 ** 20,
  /** §8: accounts that one account has accepted, and as many that wait, or were refused or blocked. */
  contactsPerAccountMax: 10_000,

  /** §9: an invite. */
  inviteMs: 7 * 86_400_000,
  /** §9: a link, as it is typed or scanned. */
  linkCharactersMax: 512,
} as const

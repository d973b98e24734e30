import { limits as protocol } from '@messageu/protocol/v3'

/** What a device allows its conversations, beside the limits of the protocol. Bytes, counts and milliseconds. */
export const messagingLimits = {
  /** A part of what opens and seals a conversation. */
  stateBytesMax: 3 * protocol.handshakeBytesMax,
  contentBytesMax: protocol.sealedBytesMax,
  titleBytesMax: 512,
  /** Why something was not taken, in words. */
  wordsBytesMax: 512,

  /** Places that others may be behind, and one's own sends that may be ahead of what has come. */
  recentMarks: 32,
  aheadMax: 256,
  gapsMax: 64,
  /** How long what is missing may still come before anybody asks for it. */
  gapMs: 5_000,
  /** How often it is written down that a session was opened. */
  openedEveryMs: 86_400_000,
  /** Messages of one device and one conversation that may come in another order than they were sent. */
  seenWindow: 256,
  /**
   * Places of one conversation in the history. Sequences are counted from `firstBase` on, behind what was said before a device
   * came; for each restore of the server `countRoom` more places are left, and for copies of what it has seen none of,
   * `countSlack` behind what their giver has. Of the earlier incarnations with the present one a content names 64.
   */
  historyMax: 2 ** 32,
  firstBase: 2 ** 24,
  countRoom: 2 ** 20,
  countSlack: 256,
  earlierCountsMax: 63,

  /** CONVERSATIONS D 5: an update of the own leaf after so many messages, or so long after the last. */
  messagesPerUpdate: 100,
  updateMs: 7 * 86_400_000,
  /** How long a message waits for the update in front of it, and for how long none is tried after one that failed. */
  updateWaitMs: 10_000,
  updateRetryMs: 60_000,
  /** CONVERSATIONS D 5: within this for so many devices, whoever was brought in and says nothing updates its leaf. */
  newcomerDelayMs: 10 * 60_000,
  newcomersPerDelay: 50,
  /** CONVERSATIONS D 2: how long others wait before they do what a device list demands. */
  dutyDelayMinMs: 10_000,
  dutyDelayMaxMs: 60_000,
  /** How long siblings wait before they give a new device what whoever admitted it has not given. */
  settleDelayMinMs: 120_000,
  settleDelayMaxMs: 300_000,
  /** CONVERSATIONS D 4: how long rejoining may fail before the conversation is created anew. */
  repairMs: 60_000,
  /** How long what waits at the server may take to come, before a conversation is compared without it. */
  caughtUpMs: 10_000,
  /** How many generations a server that was restored may be behind. */
  generationsBehindMax: 64,
  /** How long whoever has opened a conversation has to bring the other side in. */
  openingMs: 10_000,
  /** How long an accepted commit may take to its place in the sequence before nobody waits for it. */
  placeMs: 60_000,
  /** Between two attempts at a duty that has failed. */
  dutyRetryMs: 5_000,
  dutyRetryMaxMs: 600_000,
  /** Commits that may win before one of ours is given up. */
  commitAttempts: 20,

  /** Accounts that have left whom one commit takes out. Protocol 3 §6.10 */
  departuresPerCommit: 10,
  /** CONVERSATIONS C 12: devices that one commit adds. */
  addsPerCommit: protocol.welcomesPerCommitMax,

  /** Key packages: published when there are fewer than `packagesLow`, up to `packagesFull`. */
  packagesFull: protocol.keyPackagesPerDeviceMax,
  packagesLow: protocol.keyPackagesLow,
  /** How often it is looked whether they are good still, in a session that goes on for long. */
  packagesEveryMs: 86_400_000,
  /** A last resort is replaced after so long, and its private half kept so much longer. */
  lastResortMs: 7 * 86_400_000,
  lastResortGraceMs: 14 * 86_400_000,
  welcomesPerPackageMax: 1_000,
  /** Conversations that only the server has spoken of, and messages that are held for each until it is proved. */
  announcedMax: 256,
  announcedItemsMax: 1_000,
  /** Welcomes that were not taken and are told of in a day: a server can make up any number of them. */
  unwelcomePerDay: 20,
  /** Welcomes into one conversation that are recognised when they come again. */
  welcomesRemembered: 32,

  /** CONVERSATIONS C 9: how often others are asked for what could not be opened, and how long an answer may take. */
  askAttempts: 4,
  askMs: 15_000,
  asksMax: 1_000,
  /** Errands of one kind that wait to be done. */
  errandsMax: 1_000,
  /** Sealed bytes of copies in one message. */
  copiesBytesMax: 180_000,
  /** How often it is written down that a list was confirmed. */
  confirmedEveryMs: 3_600_000,
  /** Verified device lists that are held in memory. */
  listsHeld: 2_048,
  /** What the store's rows may take in memory to spare reading them again. */
  cacheBytesMax: 32 * 2 ** 20,
  /** Arrivals that are told in one go. */
  arrivalsMax: 64,
} as const

/** What to try, for everything that can go wrong on this side of the wire. */
// biome-ignore format: the columns are the point
const advice = {
  unreachable:          'check the address and the network, then try again',
  'untrusted-server':   'do not go on: ask the operator for the link and compare it',
  'bad-answer':         'the server does not keep to the protocol: tell its operator',
  lost:                 'try again: what was accepted is not done twice',
  superseded:           'another program runs with this profile: end one of them',
  delisted:             'link this device again, or recover the account with its words',
  clone:                'do not use this copy of the profile: link a new device instead',
  'not-registered':     'register first, or name the profile that is',
  'already-registered': 'use this profile as it is, or choose another one',
  'older-list':         'the server shows an old state of this account: ask its operator, and compare safety numbers',
  'forked-list':        'the server shows different people different devices: compare safety numbers before you write',
  'other-account':      'compare safety numbers with this person before you write',
  'too-many':           'wait until some of it is done',
  ended:                'open it again',
  'revision-conflict':  'read again, decide again',
  'cannot-store':       'make room on the disk, then try again',
  damaged:              'nothing was deleted: put back a copy that you kept, or move the folder away',
  'newer-storage':      'use the newer program that wrote this profile',
  'wrong-passphrase':   'type it again',
  'passphrase-needed':  'give the passphrase of the profile',
  'unknown-person':     'the exact name, as its owner writes it; whoever uses version 2 is not reached from here',
  'unknown-conversation': 'look at the list of your conversations',
  'empty-text':         'write something',
  'no-device':          'they have to come online once: until then nothing can be sealed for them',
  'not-accepted':       'accept the request first, or refuse it',
  unseen:               'look at who is in the conversation, then say that you have',
  forbidden:            'ask an owner of the group',
  'not-manager':        'use a device that manages the account, or the recovery words',
  'bad-code':           'copy the whole code again',
  contested:            'try again: others changed the conversation at the same time',
  'not-a-member':       'ask somebody who is in the conversation to bring this device in',
  'in-use':             'wait until the other program has ended, or end it',
  'insecure-file':      'look at it and move it away',
} as const

export type ClientReason = keyof typeof advice

/** Something failed on this side of the wire. Callers branch on `reason`; the server's own refusals are `RefusedError`s. */
export class ClientError extends Error {
  override readonly name = 'ClientError'
  readonly reason: ClientReason
  /** The other side asks not to be tried again any sooner; 0 where it did not say. */
  readonly retryAfterMs: number

  constructor(reason: ClientReason, message: string, { cause, retryAfterMs = 0 }: Options = {}) {
    super(message, { cause })
    this.reason = reason
    this.retryAfterMs = retryAfterMs
  }

  /** What the reader can do about it. */
  get advice(): string {
    return advice[this.reason]
  }
}

type Options = { cause?: unknown; retryAfterMs?: number }

/** The server did what no server may do. */
export function badAnswer(what: string, cause?: unknown): ClientError {
  return new ClientError('bad-answer', `the server broke the protocol: ${what}`, { cause })
}

/** The session ended before an answer: the next one may bring it. */
export function isLoss(error: unknown): boolean {
  return error instanceof ClientError && (error.reason === 'lost' || error.reason === 'ended')
}

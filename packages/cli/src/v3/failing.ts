import { ClientError, type ClientReason } from '@messageu/client'
import { IdentityError, UnknownWordError } from '@messageu/e2ee'
import { ProtocolError, type Reason } from '@messageu/protocol'
import { RefusedError } from '@messageu/protocol/v3'
import { Failure, type FailureCode } from '../failure.ts'

/** What the reasons of the client are called here. */
// biome-ignore format: the columns are the point
const ownCodes: Readonly<Record<ClientReason, FailureCode>> = {
  unreachable:          'unreachable',
  'untrusted-server':   'untrusted-server',
  'bad-answer':         'bad-answer',
  lost:                 'cut-off',
  superseded:           'superseded',
  delisted:             'delisted',
  clone:                'clone',
  'not-registered':     'not-registered',
  'already-registered': 'already-registered',
  'older-list':         'list-changed',
  'forked-list':        'list-changed',
  'other-account':      'account-changed',
  'too-many':           'limited',
  ended:                'interrupted',
  'revision-conflict':  'in-use',
  'cannot-store':       'disk-full',
  damaged:              'damaged',
  'newer-storage':      'newer-storage',
  'wrong-passphrase':   'wrong-passphrase',
  'passphrase-needed':  'wrong-passphrase',
  'in-use':             'in-use',
  'unknown-person':     'unknown-person',
  'unknown-conversation': 'not-found',
  'empty-text':         'usage',
  'no-device':          'no-device',
  'not-accepted':       'not-accepted',
  unseen:               'unseen',
  forbidden:            'forbidden',
  'not-manager':        'forbidden',
  'bad-code':           'bad-code',
  contested:            'contested',
  'not-a-member':       'not-found',
  'insecure-file':      'insecure-file',
}

/** Where a command says better what to do than the client can. */
const commands: Readonly<Partial<Record<ClientReason, string>>> = {
  unseen: 'messageu listen --once shows who is there',
  'not-accepted': 'messageu requests accept NAME (or refuse, or block)',
  'unknown-conversation': 'messageu conversations',
  'other-account':
    'compare safety numbers (messageu verify NAME); if it is the same on both sides messageu alarms accept NAME, else messageu alarms keep NAME',
}

interface Refused {
  readonly code: FailureCode
  /** What it comes down to, where the reason alone does not say. */
  readonly what?: string
  readonly advice: string
}

/** What the server's refusals are called here, and what to try. Whatever is not listed is `refused`. */
// biome-ignore format: the columns are the point
const refusals: Readonly<Partial<Record<Reason, Refused>>> = {
  'name-taken':          { code: 'name-taken', advice: 'another name: this one, or one that looks like it, is somebody else' },
  'bad-name':            { code: 'bad-name',   advice: 'letters and digits of one script, 2 to 64, with single - . _ \' or blanks between them' },
  'bad-invite':          { code: 'bad-invite', advice: 'ask for a new link: an invite lets one person in, for seven days' },
  'registration-closed': { code: 'refused',    advice: 'ask the operator: this server lets nobody in now' },
  'unproved':            { code: 'delisted',   what: 'the server does not know this device, or not any more', advice: 'link this device again, or recover the account with its words' },
  'not-permitted':       { code: 'not-found',  advice: 'check the name; what one may not see is not told from what is not there' },
  'limited':             { code: 'limited',    advice: 'wait, then the same command again' },
  'busy':                { code: 'limited',    advice: 'wait, then the same command again' },
  'stopping':            { code: 'unreachable', advice: 'the same command again when the server is back' },
  'storage-full':        { code: 'limited',    advice: 'tell the operator that the disk is full' },
  'unsupported-version': { code: 'bad-answer', advice: 'the newer program: this one and the server share no version' },
}

/** The failure that an error of the client, the server or the words stands for; anything else is returned as it is. */
export function asClientFailure(error: unknown): unknown {
  if (error instanceof ClientError) return clientFailure(error)
  if (error instanceof IdentityError) return wordsFailure(error)
  if (error instanceof RefusedError) return refusal(error)
  if (error instanceof ProtocolError && error.reason === 'bad-name')
    return new Failure('bad-name', { what: error.message, advice: 'another name', cause: error })
  return error
}

function clientFailure(error: ClientError): Failure {
  const { reason, message } = error
  const advice = commands[reason] ?? error.advice
  return new Failure(ownCodes[reason], { what: message, advice, cause: error })
}

function refusal(error: RefusedError): Failure {
  const { reason, message, retryAfterMs } = error
  const {
    code,
    what = `the server refused: ${reason}`,
    advice,
  } = refusals[reason] ?? { code: 'refused', advice: 'messageu --help' }
  const wait = retryAfterMs > 0 ? `${advice} (not before ${Math.ceil(retryAfterMs / 1000)} s)` : advice
  return new Failure(code, { what, why: message, advice: wait, cause: error })
}

function wordsFailure(error: IdentityError): Failure {
  const meant = error instanceof UnknownWordError ? error.suggestions() : []
  const advice = meant.length > 0 ? `perhaps ${meant.join(', ')}` : 'compare with what was written down, word by word'
  return new Failure('bad-words', { what: error.message, advice }) // without a cause: it may hold what was typed
}

/**
 * Why a peer's request is refused. The word is the same in logs, in the SDK and in the documentation; `retry` says
 * whether the same request may succeed later, or the same intent after it was built anew on what has changed. Version 2
 * has one code for all of them on the wire (9000); version 3 has one for each (`v3/errors.ts`).
 */
// biome-ignore format: the columns are the point
export const reasons = {
  malformed:             { retry: 'never' }, // not the bytes the protocol describes
  'unknown-code':        { retry: 'never' }, // no such request
  'unknown-client':      { retry: 'never' }, // the asker is not registered here
  'unknown-recipient':   { retry: 'never' }, // the addressee is not registered here
  'name-taken':          { retry: 'never' }, // somebody else has this name, or one that looks like it
  'directory-full':      { retry: 'never' }, // no room for another client
  'mailbox-full':        { retry: 'later' }, // the recipient has to fetch first
  'storage-full':        { retry: 'later' }, // the operator has to make room
  damaged:               { retry: 'never' }, // stored bytes are not what was stored: the operator has to look
  busy:                  { retry: 'later' }, // a limit on connections, memory or waiting was reached
  timeout:               { retry: 'later' }, // the peer was too slow
  stopping:              { retry: 'later' }, // the server is going down
  internal:              { retry: 'later' }, // a mistake of ours; the operator finds it in the log

  unproved:              { retry: 'never' }, // the session has to be proved first, or the proof does not hold
  'not-permitted':       { retry: 'never' }, // not there, or not for this asker: the two are not told apart
  limited:               { retry: 'later' }, // a rate, a quota or a limit towards strangers was reached
  'unsupported-version': { retry: 'never' }, // no minor version is known to both sides
  'too-large':           { retry: 'never' }, // above a limit of this server
  'bad-name':            { retry: 'never' }, // not a name that may be given
  'bad-invite':          { retry: 'never' }, // the invite is unknown, used or too old
  'registration-closed': { retry: 'never' }, // the operator lets nobody in
  'bad-list':            { retry: 'never' }, // an entry that does not continue the device list, or a signature that does not hold
  'stale-list':          { retry: 'changed' }, // the device list has grown meanwhile
  'conversation-exists': { retry: 'never' }, // the id is in use
  'stale-epoch':         { retry: 'changed' }, // another commit was first, or the epoch is too far behind
  'stale-generation':    { retry: 'changed' }, // the conversation was created anew
  'id-reused':           { retry: 'never' }, // the id or number of a send was used for other bytes
} as const satisfies Record<string, { retry: 'never' | 'later' | 'changed' }>

export type Reason = keyof typeof reasons

/** The peer asked wrongly, or cannot be served now. Callers branch on `reason`; the message is for people and logs. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  readonly reason: Reason

  constructor(reason: Reason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}

export function malformed(what: string): ProtocolError {
  return new ProtocolError('malformed', what)
}

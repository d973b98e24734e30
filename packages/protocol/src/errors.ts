/**
 * Why a peer's request is refused. The word is the same in logs, in the SDK and in the documentation; `retry` says
 * whether the same request may succeed later. Version 2 has one code for all of them on the wire (9000).
 */
// biome-ignore format: the columns are the point
export const reasons = {
  malformed:           { retry: 'never' }, // not the bytes the protocol describes
  'unknown-code':      { retry: 'never' }, // no such request
  'unknown-client':    { retry: 'never' }, // the asker is not registered here
  'unknown-recipient': { retry: 'never' }, // the addressee is not registered here
  'name-taken':        { retry: 'never' }, // somebody else has this name
  'directory-full':    { retry: 'never' }, // no room for another client
  'mailbox-full':      { retry: 'later' }, // the recipient has to fetch first
  'storage-full':      { retry: 'later' }, // the operator has to make room
  damaged:             { retry: 'never' }, // stored bytes are not what was stored: the operator has to look
  busy:                { retry: 'later' }, // a limit on connections, memory or waiting was reached
  timeout:             { retry: 'later' }, // the peer was too slow
  stopping:            { retry: 'later' }, // the server is going down
  internal:            { retry: 'later' }, // a mistake of ours; the operator finds it in the log
} as const satisfies Record<string, { retry: 'never' | 'later' }>

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

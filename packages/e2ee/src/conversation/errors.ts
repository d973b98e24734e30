/**
 * Why something of a conversation is not taken. Callers branch on the word; what an outsider may see of it is never
 * more than that the item was refused.
 */
export type ConversationReason =
  | 'malformed' // not bytes of ours, or more or fewer than the declaration says
  | 'misdirected' // of another conversation or generation, or in an envelope that names another sender or send
  | 'forbidden' // against the rules of the conversation: roles, kinds of change, external commits
  | 'roster' // the delivered roster, the signed one and the resulting one are not the same
  | 'list' // a device is not on the device list that decides, or that list is older than the last one used here
  | 'keys' // a key that has to be new or unique is not
  | 'unverifiable' // a signature, a decryption or a confirmation does not hold
  | 'superseded' // a commit of this device that this state did not make: the state is a copy, or an old one
  | 'limit' // more devices or bytes than a conversation may have
  | 'older' // a GroupInfo from before an epoch that is known
  | 'seen' // a Welcome that was opened before
  | 'held' // a Welcome into a generation that this device is in already
  | 'no-package' // a Welcome for none of the key packages at hand
  | 'expired' // a key package outside of its time
  | 'long-lived' // a key package for longer than one may live
  | 'other-account' // a key package of somebody else than was asked for
  | 'other-suite' // a key package of another cipher suite than the conversation's
  | 'other-engine' // a state that another engine or version wrote
  | 'spent' // the own ratchet has been wiped: sealing again would use a key that is known
  | 'unproved' // a proof of authorship that does not hold

export class ConversationError extends Error {
  override readonly name = 'ConversationError'
  readonly reason: ConversationReason

  constructor(reason: ConversationReason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}

/** Whatever `work` throws on the bytes of a peer becomes one refusal: engines throw many kinds, some by accident. */
export async function refusing<T>(reason: ConversationReason, what: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof ConversationError) throw cause
    throw new ConversationError(reason, what, { cause })
  }
}

export function mustHold(condition: boolean, reason: ConversationReason, otherwise: string): asserts condition {
  if (!condition) throw new ConversationError(reason, otherwise)
}

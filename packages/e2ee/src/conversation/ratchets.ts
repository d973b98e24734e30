import { bytes, type Infer, list, struct, u16, u32, u64 } from '@messageu/protocol'
import { mustHold } from './errors.ts'
import { limits } from './limits.ts'

const secret = bytes({ max: limits.secretBytesMax })

/** Where one sender's messages have come to: the secret of the next, and keys of those that were passed over. */
const Ratchet = struct({
  leaf: u16,
  generation: u32,
  secret,
  skipped: list(struct({ generation: u32, secret }), { max: limits.skippedKeysMax }),
})
export type Ratchet = Infer<typeof Ratchet>

/**
 * The message keys of one epoch: of every sender the next secret only, so that what was used cannot be had again. The
 * engine's tree has as many again for blank leaves, for inner nodes and for handshakes, which are never used here.
 */
export const Ratchets = struct({
  epoch: u64,
  senders: list(Ratchet, { max: limits.devicesPerConversationMax }),
})
export type Ratchets = Infer<typeof Ratchets>

export const EarlierRatchets = list(Ratchets, { max: limits.earlierEpochsMax })

export function ratchetOf({ senders }: Ratchets, leaf: number): Ratchet | undefined {
  return senders.find((sender) => sender.leaf === leaf)
}

/** The same ratchets with one that has moved on. */
export function moved(ratchets: Ratchets, next: Ratchet): Ratchets {
  return { ...ratchets, senders: ratchets.senders.map((each) => (each.leaf === next.leaf ? next : each)) }
}

/** A buffer that somebody wiped would still encrypt, under a key that everybody can guess. */
export function mustBeUnspent({ secret }: Ratchet): void {
  mustHold(
    secret.some((byte) => byte !== 0),
    'spent',
    'the own message keys have been wiped',
  )
}

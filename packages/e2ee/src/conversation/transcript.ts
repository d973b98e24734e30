import { encode, struct, u64 } from '@messageu/protocol'
import { Hash } from '@messageu/protocol/v3'
import { hashOf } from './shared.ts'

export const TranscriptStep = struct({ before: Hash, sequence: u64, sealed: Hash })

/** What is known of a sealed message where only the order of messages matters. */
export function sealedHash(sealed: Uint8Array): Hash {
  return hashOf(sealed)
}

/**
 * The hash of everything in an epoch up to a message: of the hash before it, its sequence and its sealed bytes. An epoch
 * begins with the hash of its authenticator, at the sequence of its commit. Protocol 3 §6.11
 */
export function runningHash(before: Hash, { sequence, sealed }: { sequence: number; sealed: Hash }): Hash {
  return hashOf(encode(TranscriptStep, { before, sequence, sealed }))
}

import { decode, encode } from '@messageu/protocol'
import { DeliveredCommit, type Delivery, type DeviceId } from '@messageu/protocol/v3'
import { same } from './ledger.ts'
import type { MessagingServer } from './messaging-server.ts'

/** A member whose program spoils its own commits: the server takes them, and nobody can apply them. */
export function spoil(
  server: MessagingServer,
  by: DeviceId,
  parts: readonly ('commit' | 'groupInfo')[],
): { stop: () => void } {
  server.spoilt = (device, request) => {
    if (!same(device, by)) return request
    return { ...request, ...Object.fromEntries(parts.map((part) => [part, flipped(request[part])])) }
  }
  return {
    stop: () => {
      server.spoilt = undefined
    },
  }
}

/** The same with one bit changed: in the last byte, or at a place. */
export function flipped(bytes: Uint8Array, at: number = bytes.length - 1): Uint8Array {
  const other = bytes.slice()
  other[at] = (other[at] ?? 0) ^ 1
  return other
}

/** The same delivery, with another commit in it than was sent. */
export function altered(parts: Partial<Delivery>): Partial<Delivery> {
  if (parts.sealed === undefined) return parts
  const delivered = decode(DeliveredCommit, parts.sealed)
  return { ...parts, sealed: encode(DeliveredCommit, { ...delivered, commit: flipped(delivered.commit) }) }
}

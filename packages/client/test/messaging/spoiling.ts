import { same } from './ledger.ts'
import type { Device, MessagingWorld } from './people.ts'

/** A member whose program spoils its own commits: the server takes them, and nobody can apply them. */
export function spoil(
  world: MessagingWorld,
  by: Device,
  parts: readonly ('commit' | 'groupInfo')[],
): { stop: () => void } {
  const { server } = world
  server.spoilt = (device, request) => {
    if (!same(device, by.identity.device)) return request
    return { ...request, ...Object.fromEntries(parts.map((part) => [part, flipped(request[part])])) }
  }
  return {
    stop: () => {
      server.spoilt = undefined
    },
  }
}

export function flipped(bytes: Uint8Array): Uint8Array {
  const other = bytes.slice()
  other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
  return other
}

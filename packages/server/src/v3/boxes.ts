import { archiveLimits } from '../archive.ts'

/** What lies in a box of version 3. The order is their place in the numbers: never change it. */
const kinds = ['application', 'handshake', 'welcome'] as const
export type BoxKind = (typeof kinds)[number]

/** Room for a fourth kind. */
const stride = 4

/**
 * The box of a conversation (`application` messages, `handshake` for its commits) or of a device (`welcome`), which have
 * numbers of their own.
 */
export function boxOf(kind: BoxKind, number: number): number {
  return archiveLimits.firstBox + number * stride + kinds.indexOf(kind)
}

/** What a box is, and of which conversation or device. Undefined for one that is not ours. */
export function ownerOf(box: number): { kind: BoxKind; number: number } | undefined {
  const place = box - archiveLimits.firstBox
  const kind = kinds[place % stride]
  return kind && { kind, number: Math.floor(place / stride) }
}

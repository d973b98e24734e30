/** Takes as long as it takes: for bytes that are no secret. */
export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i])
}

export function isAmong(one: Uint8Array, all: readonly Uint8Array[]): boolean {
  return all.some((each) => sameBytes(each, one))
}

/** Below zero if `one` comes first in the order of unsigned bytes, zero if both are the same. */
export function compareBytes(one: Uint8Array, other: Uint8Array): number {
  const at = one.findIndex((byte, i) => byte !== other[i])
  return at === -1 ? one.length - other.length : (one[at] ?? 0) - (other[at] ?? -1)
}

/** The part of DER that a certificate is written in (X.690). */

const tags = { boolean: 0x01, integer: 0x02, bits: 0x03, octets: 0x04, oid: 0x06, utf8: 0x0c, utcTime: 0x17 } as const
const laterTime = 0x18
const sequenceTag = 0x30
const setTag = 0x31

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(sequenceTag, ...parts)
}

export function set(...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(setTag, ...parts)
}

export const octets = (bytes: Uint8Array): Uint8Array => tagged(tags.octets, bytes)
export const text = (value: string): Uint8Array => tagged(tags.utf8, Buffer.from(value, 'utf8'))
export const yes = tagged(tags.boolean, Uint8Array.of(0xff))

/** A whole number that is not negative, from its bytes in network order. */
export function integer(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0)
  const digits = first < 0 ? Uint8Array.of(0) : bytes.subarray(first)
  const isNegative = ((digits[0] ?? 0) & 0x80) !== 0
  return isNegative ? tagged(tags.integer, Uint8Array.of(0), digits) : tagged(tags.integer, digits)
}

/** Bits, of which the last `unused` do not count. */
export function bits(bytes: Uint8Array, unused = 0): Uint8Array {
  return tagged(tags.bits, Uint8Array.of(unused), bytes)
}

export function oid(name: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = name.split('.').map(Number)
  return tagged(tags.oid, Uint8Array.from([40 * first + second, ...rest].flatMap(base128)))
}

/** To the second. Up to 2049 with two digits for the year, as RFC 5280 §4.1.2.5 wants it. */
export function time(at: Date): Uint8Array {
  const digits = at.toISOString().replace(/\.\d+/, '').replace(/[-:T]/g, '')
  const isShort = at.getUTCFullYear() < 2050
  return tagged(isShort ? tags.utcTime : laterTime, Buffer.from(isShort ? digits.slice(2) : digits, 'latin1'))
}

/** `[number]`: a part that is known by its place. `isWhole` says that something with a tag of its own is inside. */
export function context(
  number: number,
  { isWhole }: { isWhole: boolean },
  ...parts: readonly Uint8Array[]
): Uint8Array {
  return tagged((isWhole ? 0xa0 : 0x80) | number, ...parts)
}

function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts)
  return Buffer.concat([Uint8Array.of(tag, ...lengthOf(content.length)), content])
}

function lengthOf(length: number): number[] {
  if (length < 0x80) return [length]
  const bytes: number[] = []
  for (let left = length; left > 0; left = Math.floor(left / 256)) bytes.unshift(left % 256)
  return [0x80 | bytes.length, ...bytes]
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f]
  for (let left = value >>> 7; left > 0; left >>>= 7) bytes.unshift((left & 0x7f) | 0x80)
  return bytes
}

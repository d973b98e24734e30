import { bytes, decode, encode, malformed } from '@messageu/protocol'
import { limits } from './limits.ts'

const Padded = bytes({ max: limits.paddedBytesMax })
const lengthBytes = 4
const plainUpTo = 4096

/**
 * The bytes behind their length, then zeros up to a size that many messages share: powers of two up to 4 KiB, from
 * there on Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", §4.1),
 * which adds 12 % at most. Throws `malformed` for more than fits one message.
 */
export function pad(content: Uint8Array): Uint8Array {
  const framed = encode(Padded, content)
  const size = paddedSize(framed.length)
  if (size > limits.paddedBytesMax) throw malformed(`${content.length} bytes are too many for one message`)
  const padded = new Uint8Array(size)
  padded.set(framed)
  return padded
}

/** What was padded. Throws `malformed` for any other size or filling than `pad` gives. */
export function unpad(padded: Uint8Array): Uint8Array {
  const length = new DataView(padded.buffer, padded.byteOffset, padded.byteLength)
  if (padded.length < lengthBytes) throw malformed('too short to say how long it is')
  const end = lengthBytes + length.getUint32(0, true)
  if (end > padded.length || paddedSize(end) !== padded.length) throw malformed('padded to another size')
  if (padded.subarray(end).some((byte) => byte !== 0)) throw malformed('padded with something')
  return decode(Padded, padded.subarray(0, end))
}

export function paddedSize(size: number): number {
  if (size <= plainUpTo) return 2 ** Math.ceil(Math.log2(Math.max(size, 1)))
  const exponent = Math.floor(Math.log2(size))
  const significant = Math.floor(Math.log2(exponent)) + 1
  const step = 2 ** (exponent - significant)
  return Math.ceil(size / step) * step
}

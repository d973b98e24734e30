import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { DamagedStorage } from './damage.ts'

const headerBytes = 32
const frameHeaderBytes = 24
/** The lowest bit says whether checksums read big-endian words (sqlite.org/fileformat2.html#walformat). */
const magic = 0x377f0682

/**
 * Refuses a write-ahead log with a damaged frame in front of a commit that was already durable.
 *
 * SQLite reads a log up to the first frame whose checksum is wrong and takes that for the torn end of the last write: a
 * flipped bit in the middle would silently cost everything behind it. A torn write, though, can only be in the last
 * transaction, because each is synced before the next begins. So a damaged frame with two commits at or behind it, or a
 * damaged header in front of any frame, is damage. What stays indistinguishable from a torn write is a flip in the very
 * last transaction.
 */
export function verifyWal(file: string): void {
  let descriptor: number
  try {
    descriptor = openSync(file, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  try {
    verifyFrames(descriptor, fstatSync(descriptor).size)
  } finally {
    closeSync(descriptor)
  }
}

function verifyFrames(descriptor: number, size: number): void {
  if (size <= headerBytes) return
  const header = readAt(descriptor, 0, headerBytes)
  if (header.every((byte) => byte === 0)) return // grown, and never written: nothing was synced
  const bigEndian = (header.readUInt32BE(0) & 1) === 1
  let sums = checksum(header.subarray(0, 24), bigEndian, [0, 0])
  if ((header.readUInt32BE(0) & ~1) >>> 0 !== magic || !matches(header, 24, sums))
    throw new DamagedStorage('server.db-wal', 'its header does not match its checksum')
  const pageBytes = header.readUInt32BE(8)
  let broken: number | undefined
  let commitsSince = 0
  const frameBytes = frameHeaderBytes + pageBytes
  for (let at = headerBytes, index = 0; at + frameBytes <= size; at += frameBytes, index++) {
    const frame = readAt(descriptor, at, broken === undefined ? frameBytes : frameHeaderBytes)
    const sameLog =
      frame.readUInt32BE(8) === header.readUInt32BE(16) && frame.readUInt32BE(12) === header.readUInt32BE(20)
    if (broken === undefined) {
      if (!sameLog) return // left over from before the log was started anew
      sums = checksum(frame.subarray(0, 8), bigEndian, sums)
      sums = checksum(frame.subarray(frameHeaderBytes), bigEndian, sums)
      if (matches(frame, 16, sums)) continue
      broken = index
    }
    if (sameLog && frame.readUInt32BE(4) !== 0) commitsSince += 1
    if (commitsSince > 1)
      throw new DamagedStorage('server.db-wal', `frame ${broken} does not match its checksum, and commits follow it`)
  }
}

function readAt(descriptor: number, at: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  readSync(descriptor, bytes, 0, length, at)
  return bytes
}

type Sums = readonly [number, number]

/** SQLite's running checksum over pairs of 32-bit words. */
function checksum(bytes: Buffer, bigEndian: boolean, from: Sums): Sums {
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let [first, second] = from
  for (let at = 0; at < bytes.length; at += 8) {
    first = (first + words.getUint32(at, !bigEndian) + second) >>> 0
    second = (second + words.getUint32(at + 4, !bigEndian) + first) >>> 0
  }
  return [first, second]
}

function matches(bytes: Buffer, at: number, [first, second]: Sums): boolean {
  return bytes.readUInt32BE(at) === first && bytes.readUInt32BE(at + 4) === second
}

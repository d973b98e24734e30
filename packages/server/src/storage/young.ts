import { liesInFile } from './records.ts'
import type { RingProducer } from './ring.ts'

/** Positions remembered; a ring of small messages holds somewhat more. A power of two. */
const remembered = 65_536

/**
 * Messages that still lie in the ring, by position: what was sent a moment ago is delivered without asking the
 * database. Bounded by the ring; what is overwritten is read from the database instead.
 */
export class YoungMessages {
  readonly #ring: RingProducer
  readonly #positions = new Float64Array(remembered)
  readonly #places = new Float64Array(remembered)
  readonly #offsets = new Uint32Array(remembered)

  constructor(ring: RingProducer) {
    this.#ring = ring
  }

  /** A message whose sealed form begins at `offset` of the ring, in the record at `place`. */
  note(position: number, place: number, offset: number): void {
    this.#positions[position % remembered] = position
    this.#places[position % remembered] = place
    this.#offsets[position % remembered] = offset
  }

  /** Whether head and content of a message of `size` bytes can be had from here. */
  holds(position: number, size: number): boolean {
    return (
      this.#positions[position % remembered] === position &&
      this.#ring.holds(this.#places[position % remembered] as number) &&
      !liesInFile(size)
    )
  }

  /** A copy of one message, head included, if it is here. */
  get(position: number, size: number): Buffer | undefined {
    if (!this.holds(position, size)) return undefined
    const from = this.#offsets[position % remembered] as number
    return Buffer.from(this.#ring.bytes.subarray(from, from + size))
  }

  /** A copy of as many messages from `first` on as are here, up to about `bytesMax` bytes. */
  copy(
    positions: Float64Array,
    sizes: Float64Array,
    first: number,
    bytesMax: number,
  ): { bytes: Buffer; count: number } {
    let length = 0
    let count = 0
    while (first + count < positions.length && length < bytesMax) {
      const size = sizes[first + count] as number
      if (!this.holds(positions[first + count] as number, size)) break
      length += size
      count += 1
    }
    const bytes = Buffer.allocUnsafe(length)
    let at = 0
    for (let i = first; i < first + count; i++) {
      const from = this.#offsets[(positions[i] as number) % remembered] as number
      at += this.#ring.bytes.copy(bytes, at, from, from + (sizes[i] as number))
    }
    return { bytes, count }
  }
}

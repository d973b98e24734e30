import type { Piece } from '../storage.ts'
import type { ContentFolder } from './contents.ts'
import { DamagedStorage } from './damage.ts'
import type { ReaderThread } from './readerthread.ts'
import { liesInFile, sealedHeadBytes } from './records.ts'
import type { YoungMessages } from './young.ts'

/** Bytes of small messages that are read and delivered together. */
const pieceBytes = 2 ** 18
const positionsPerRead = 256

/**
 * The bytes of messages: young ones from the ring, others from the database, large contents from their files. What is
 * found damaged stays where it is and is remembered, so that later fetches step over it.
 */
export class Bodies {
  readonly #young: YoungMessages
  readonly #reader: ReaderThread
  readonly #contents: ContentFolder
  readonly #damaged = new Set<number>()

  constructor(young: YoungMessages, reader: ReaderThread, contents: ContentFolder) {
    this.#young = young
    this.#reader = reader
    this.#contents = contents
  }

  get damagedCount(): number {
    return this.#damaged.size
  }

  isDamaged(position: number): boolean {
    return this.#damaged.size > 0 && this.#damaged.has(position)
  }

  /** To be called for messages that are gone. */
  forget(positions: Float64Array): void {
    if (this.#damaged.size > 0) for (const position of positions) this.#damaged.delete(position)
  }

  /** The ids of the contents that lie in files. */
  async contentsOf(positions: Float64Array, sizes: Float64Array): Promise<number[]> {
    const large = positions.filter((_, i) => liesInFile(sizes[i] as number))
    if (large.length === 0) return []
    const { contents } = await this.#reader.read(large)
    return Array.from(contents.values(), ({ id }) => id)
  }

  async *read(positions: Float64Array, sizes: Float64Array): AsyncGenerator<Piece> {
    for (let i = 0; i < positions.length; ) {
      const young = this.#young.copy(positions, sizes, i, pieceBytes)
      if (young.count > 0) {
        yield { bytes: young.bytes, release() {} }
        i += young.count
        continue
      }
      const count = this.#coldRun(positions, sizes, i)
      yield* this.#readCold(positions.subarray(i, i + count), sizes.subarray(i, i + count))
      i += count
    }
  }

  /** How many of the messages from `first` on are read from the database in one go. */
  #coldRun(positions: Float64Array, sizes: Float64Array, first: number): number {
    let bytes = 0
    let count = 0
    while (first + count < positions.length && count < positionsPerRead) {
      const position = positions[first + count] as number
      const size = sizes[first + count] as number
      const rowBytes = liesInFile(size) ? sealedHeadBytes : size
      if (count > 0 && (bytes + rowBytes > pieceBytes || this.#young.holds(position, size))) break
      bytes += rowBytes
      count += 1
    }
    return count
  }

  async *#readCold(positions: Float64Array, sizes: Float64Array): AsyncGenerator<Piece> {
    const { sealed, lengths, contents, damaged } = await this.#reader.read(positions)
    if (damaged.length > 0) throw this.#found(damaged, `message ${damaged.join(', ')}`)
    let at = 0
    let from = 0
    for (const [i, length] of lengths.entries()) {
      const position = positions[i] as number
      const content = contents.get(i)
      at += length
      if (length + (content?.bytes ?? 0) !== sizes[i])
        throw this.#found([position], `message ${position} has another size`)
      if (content === undefined && i < lengths.length - 1) continue
      yield { bytes: sealed.subarray(from, at), release() {} }
      from = at
      if (content === undefined) continue
      try {
        yield* this.#contents.read(content)
      } catch (error) {
        if (error instanceof DamagedStorage) this.#damaged.add(position)
        throw error
      }
    }
  }

  #found(positions: readonly number[], what: string): DamagedStorage {
    for (const position of positions) this.#damaged.add(position)
    return new DamagedStorage('server.db', what)
  }
}

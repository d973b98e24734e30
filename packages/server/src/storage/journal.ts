import { VarintReader, VarintWriter } from './varint.ts'

/** What a journal tells to whoever replays it, in the order in which it happened. */
export interface JournalReplay {
  added(recipient: number, position: number, bytes: number): void
  discarded(recipient: number, through: number, keeping: readonly number[]): void
}

/**
 * One row of the journal: which messages a commit added for whom, and which mailboxes it emptied up to where. Numbers
 * as varints: the position before the first message; then for a message recipient · 2, its distance from the position
 * before, its bytes; for a discard recipient · 2 + 1, the position, how many below it are kept, and these.
 */
export class JournalEntry {
  readonly #numbers = new VarintWriter(4096)
  #position = 0

  begin(position: number): void {
    this.#numbers.clear()
    this.#numbers.put(position)
    this.#position = position
  }

  added(recipient: number, position: number, bytes: number): void {
    this.#numbers.put(recipient * 2)
    this.#numbers.put(position - this.#position)
    this.#numbers.put(bytes)
    this.#position = position
  }

  discarded(recipient: number, through: number, keeping: readonly number[]): void {
    this.#numbers.put(recipient * 2 + 1)
    this.#numbers.put(through)
    this.#numbers.put(keeping.length)
    for (const position of keeping) this.#numbers.put(position)
  }

  /** A view that is valid until the next `begin`. */
  bytes(): Uint8Array {
    return this.#numbers.written()
  }
}

/** Replays one row and returns the highest position it has seen. Throws a RangeError for damaged bytes. */
export function replayEntry(bytes: Uint8Array, replay: JournalReplay): number {
  const numbers = new VarintReader(bytes)
  let position = numbers.take()
  while (!numbers.done) {
    const tagged = numbers.take()
    const recipient = Math.floor(tagged / 2)
    if (tagged % 2 === 0) {
      position += numbers.take()
      replay.added(recipient, position, numbers.take())
    } else {
      const through = numbers.take()
      const keeping = Array.from({ length: numbers.take() }, () => numbers.take())
      replay.discarded(recipient, through, keeping)
    }
  }
  return position
}

/** The waiting messages of one sleeping mailbox, as the `cold` table keeps them: distance and bytes of each. */
export class ColdPositions {
  readonly #numbers = new VarintWriter(32)
  #upto = 0

  /** Those of a row, to which more are added. */
  static of(row: { readonly positions: Uint8Array; readonly upto: number }): ColdPositions {
    const cold = new ColdPositions()
    cold.#numbers.putBytes(row.positions, 0, row.positions.length)
    cold.#upto = row.upto
    return cold
  }

  /** The highest position added. */
  get upto(): number {
    return this.#upto
  }

  add(position: number, bytes: number): void {
    this.#numbers.put(position - this.#upto)
    this.#numbers.put(bytes)
    this.#upto = position
  }

  bytes(): Uint8Array {
    return this.#numbers.written()
  }
}

export function replayCold(bytes: Uint8Array, each: (position: number, bytes: number) => void): void {
  const numbers = new VarintReader(bytes)
  let position = 0
  while (!numbers.done) {
    position += numbers.take()
    each(position, numbers.take())
  }
}

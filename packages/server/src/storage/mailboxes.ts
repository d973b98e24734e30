import assert from 'node:assert'
import type { BoxReader } from '../archive.ts'

/** Entries per block of the typed arrays: they grow without ever being copied. */
const blockEntries = 65_536
const none = 0
/** One message in so many is marked, for readers who begin in the middle of a long mailbox. */
const markEvery = 256

class Block {
  readonly next = new Uint32Array(blockEntries)
  readonly bytes = new Uint32Array(blockEntries)
  readonly low = new Uint32Array(blockEntries)
  readonly high = new Uint16Array(blockEntries)
}

interface Mailbox {
  first: number
  last: number
  count: number
  bytes: number
  /** Entries, in order. The first ones may be gone: then they are somebody else's, or nobody's. */
  marks: { position: number; entry: number }[] | undefined
  unmarked: number
}

/**
 * Which messages wait for whom, in order of arrival: one linked list per mailbox in typed arrays, 14 bytes a message.
 * The bodies are elsewhere.
 */
export class Mailboxes {
  readonly #blocks: Block[] = []
  readonly #mailboxes = new Map<number, Mailbox>()
  #free = none
  #used = 1 // entry 0 is `none`
  #count = 0

  /** Messages waiting in all mailboxes. */
  get count(): number {
    return this.#count
  }

  countOf(mailbox: number): number {
    return this.#mailboxes.get(mailbox)?.count ?? 0
  }

  bytesOf(mailbox: number): number {
    return this.#mailboxes.get(mailbox)?.bytes ?? 0
  }

  /** The position of the newest message; 0 if there is none. */
  newestOf(mailbox: number): number {
    const list = this.#mailboxes.get(mailbox)
    return list === undefined ? 0 : this.#positionAt(list.last)
  }

  /** The position of the oldest message; 0 if there is none. */
  oldestOf(mailbox: number): number {
    const list = this.#mailboxes.get(mailbox)
    return list === undefined ? 0 : this.#positionAt(list.first)
  }

  /**
   * A place in a mailbox behind position `after`, which need not be the position of a message. Costs the same whatever
   * waits, also after messages were added or discarded: an entry that is still at its position is still linked.
   */
  reader(mailbox: number, after: number): BoxReader {
    let passed = after
    let entry = this.#entryUpTo(mailbox, after)
    let place = entry === none ? 0 : this.#positionAt(entry)
    const following = (): number => {
      if (entry === none || this.#positionAt(entry) !== place) entry = this.#entryUpTo(mailbox, passed)
      place = entry === none ? 0 : this.#positionAt(entry)
      if (entry === none) return this.#mailboxes.get(mailbox)?.first ?? none
      return this.#block(entry).next[entry % blockEntries] as number
    }
    return {
      peek: () => {
        const next = following()
        if (next === none) return undefined
        return { position: this.#positionAt(next), bytes: this.#block(next).bytes[next % blockEntries] as number }
      },
      advance: () => {
        const next = following()
        if (next === none) return
        entry = next
        passed = place = this.#positionAt(next)
      },
    }
  }

  /** Adds at the end. Positions of one mailbox only grow. */
  add(mailbox: number, position: number, bytes: number): void {
    const entry = this.#take()
    const block = this.#block(entry)
    const at = entry % blockEntries
    block.next[at] = none
    block.bytes[at] = bytes
    block.low[at] = position >>> 0
    block.high[at] = Math.floor(position / 2 ** 32)
    const list = this.#mailboxes.get(mailbox)
    if (list === undefined) {
      this.#mailboxes.set(mailbox, { first: entry, last: entry, count: 1, bytes, marks: undefined, unmarked: 1 })
    } else {
      this.#block(list.last).next[list.last % blockEntries] = entry
      list.last = entry
      list.count += 1
      list.bytes += bytes
      list.unmarked += 1
      if (list.unmarked === markEvery) {
        list.unmarked = 0
        list.marks ??= []
        list.marks.push({ position, entry })
      }
    }
    this.#count += 1
  }

  /** Calls `each` from the oldest on until it returns false. */
  walk(mailbox: number, each: (position: number, bytes: number) => boolean): void {
    for (let entry = this.#mailboxes.get(mailbox)?.first ?? none; entry !== none; ) {
      const block = this.#block(entry)
      const at = entry % blockEntries
      if (!each(this.#positionAt(entry), block.bytes[at] as number)) return
      entry = block.next[at] as number
    }
  }

  /** Forgets everything up to and including `through`, except the positions to keep. */
  discard(mailbox: number, through: number, keeping: readonly number[]): void {
    const list = this.#mailboxes.get(mailbox)
    if (list === undefined) return
    let kept = none // the entry behind which the next survivor is linked
    let entry = list.first
    while (entry !== none && this.#positionAt(entry) <= through) {
      const block = this.#block(entry)
      const at = entry % blockEntries
      const next = block.next[at] as number
      if (keeping.includes(this.#positionAt(entry))) {
        this.#link(list, kept, entry)
        kept = entry
      } else {
        list.count -= 1
        list.bytes -= block.bytes[at] as number
        this.#count -= 1
        block.low[at] = 0 // no message has position 0: readers see that it is gone
        block.high[at] = 0
        block.next[at] = this.#free
        this.#free = entry
      }
      entry = next
    }
    this.#link(list, kept, entry)
    if (list.count === 0) this.#mailboxes.delete(mailbox)
    else if (list.marks !== undefined) dropMarks(list.marks, through)
  }

  /** The mailboxes that hold something. */
  occupied(): Iterable<number> {
    return this.#mailboxes.keys()
  }

  /** The last entry at or before a position, `none` if there is none. */
  #entryUpTo(mailbox: number, position: number): number {
    const list = this.#mailboxes.get(mailbox)
    if (list === undefined || this.#positionAt(list.first) > position) return none
    if (this.#positionAt(list.last) <= position) return list.last
    let entry = markUpTo(list.marks ?? [], position) ?? list.first
    for (;;) {
      const next = this.#block(entry).next[entry % blockEntries] as number
      if (next === none || this.#positionAt(next) > position) return entry
      entry = next
    }
  }

  #link(list: Mailbox, before: number, entry: number): void {
    if (before === none) list.first = entry
    else this.#block(before).next[before % blockEntries] = entry
    if (entry === none) list.last = before
  }

  #positionAt(entry: number): number {
    const block = this.#block(entry)
    const at = entry % blockEntries
    return (block.high[at] as number) * 2 ** 32 + (block.low[at] as number)
  }

  #take(): number {
    if (this.#free !== none) {
      const entry = this.#free
      this.#free = this.#block(entry).next[entry % blockEntries] as number
      return entry
    }
    const entry = this.#used++
    if (Math.floor(entry / blockEntries) === this.#blocks.length) this.#blocks.push(new Block())
    return entry
  }

  #block(entry: number): Block {
    const block = this.#blocks[Math.floor(entry / blockEntries)]
    assert(block !== undefined, 'an entry lies in a block that was made for it')
    return block
  }
}

type Marks = NonNullable<Mailbox['marks']>

/** The entry of the last mark at or before a position. */
function markUpTo(marks: Marks, position: number): number | undefined {
  let [low, high] = [0, marks.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((marks[middle] as Marks[number]).position <= position) low = middle + 1
    else high = middle
  }
  return marks[low - 1]?.entry
}

/** Drops the marks up to and including a position: what they point to may be gone. */
function dropMarks(marks: Marks, through: number): void {
  const kept = marks.findIndex(({ position }) => position > through)
  marks.splice(0, kept === -1 ? marks.length : kept)
}

import assert from 'node:assert'

/** Entries per block of the typed arrays: they grow without ever being copied. */
const blockEntries = 65_536
const none = 0

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
      this.#mailboxes.set(mailbox, { first: entry, last: entry, count: 1, bytes })
    } else {
      this.#block(list.last).next[list.last % blockEntries] = entry
      list.last = entry
      list.count += 1
      list.bytes += bytes
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
        block.next[at] = this.#free
        this.#free = entry
      }
      entry = next
    }
    this.#link(list, kept, entry)
    if (list.count === 0) this.#mailboxes.delete(mailbox)
  }

  /** The mailboxes that hold something. */
  occupied(): Iterable<number> {
    return this.#mailboxes.keys()
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

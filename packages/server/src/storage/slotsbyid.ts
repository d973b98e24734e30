/** Of each slot: the next one in its chain, or -1. Of each chain: its first slot, or -1. */
const none = -1

/**
 * Which slots have which id: chains of those whose ids fall together, 4 bytes a slot. Whoever makes ids that fall
 * together waits for a walk through at most all of its own slots.
 */
export class SlotsById {
  readonly #first: Int16Array
  readonly #next: Int16Array

  /** @param slots a power of two, at most 2^14 */
  constructor(slots: number) {
    this.#first = new Int16Array(slots).fill(none)
    this.#next = new Int16Array(slots).fill(none)
  }

  /** The id lies in `bytes` at `at`. */
  add(slot: number, bytes: Uint8Array, at = 0): void {
    const chain = this.#chainOf(bytes, at)
    this.#next[slot] = this.#first[chain] as number
    this.#first[chain] = slot
  }

  remove(slot: number, bytes: Uint8Array, at = 0): void {
    const chain = this.#chainOf(bytes, at)
    const after = this.#next[slot] as number
    if (this.#first[chain] === slot) {
      this.#first[chain] = after
      return
    }
    for (let each = this.#first[chain] as number; each !== none; each = this.#next[each] as number)
      if (this.#next[each] === slot) this.#next[each] = after
  }

  /** The slot that has the id, as `has` says. */
  find(id: Uint8Array, has: (slot: number) => boolean): number | undefined {
    for (let at = this.#first[this.#chainOf(id, 0)] as number; at !== none; at = this.#next[at] as number)
      if (has(at)) return at
    return undefined
  }

  /** Ids are 16 bytes, mostly random. */
  #chainOf(bytes: Uint8Array, at: number): number {
    const byte = (index: number): number => bytes[at + index] as number
    const mixed = byte(0) ^ (byte(5) << 3) ^ (byte(10) << 6) ^ byte(15)
    return mixed & (this.#first.length - 1)
  }
}

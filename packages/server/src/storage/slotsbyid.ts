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

  add(slot: number, id: Uint8Array): void {
    const chain = this.#chainOf(id)
    this.#next[slot] = this.#first[chain] as number
    this.#first[chain] = slot
  }

  remove(slot: number, id: Uint8Array): void {
    const chain = this.#chainOf(id)
    const after = this.#next[slot] as number
    if (this.#first[chain] === slot) {
      this.#first[chain] = after
      return
    }
    for (let at = this.#first[chain] as number; at !== none; at = this.#next[at] as number)
      if (this.#next[at] === slot) this.#next[at] = after
  }

  /** The slot that has the id, as `has` says. */
  find(id: Uint8Array, has: (slot: number) => boolean): number | undefined {
    for (let at = this.#first[this.#chainOf(id)] as number; at !== none; at = this.#next[at] as number)
      if (has(at)) return at
    return undefined
  }

  /** Ids are 16 bytes, mostly random. */
  #chainOf(id: Uint8Array): number {
    const mixed = (id[0] as number) ^ ((id[5] as number) << 3) ^ ((id[10] as number) << 6) ^ (id[15] as number)
    return mixed & (this.#first.length - 1)
  }
}

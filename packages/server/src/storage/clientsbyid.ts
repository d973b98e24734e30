import type { Client } from '../storage.ts'

const slotsAtFirst = 1024

/**
 * Finds clients by 16 bytes that this server has drawn at random: by their first four, without a string for each look
 * as a `Map` would need. At most half of the slots are taken, so a look ends soon, whoever asks for what.
 */
export class ClientsById {
  readonly #idOf: (client: Client) => Uint8Array
  #slots: (Client | undefined)[] = emptySlots(slotsAtFirst)
  #count = 0

  constructor(idOf: (client: Client) => Uint8Array) {
    this.#idOf = idOf
  }

  find(id: Uint8Array): Client | undefined {
    return this.#slots[this.#slotOf(id)]
  }

  /** Adds a client, in the place of one with the same id. */
  add(client: Client): void {
    if (this.#count * 2 >= this.#slots.length) this.#grow()
    const slot = this.#slotOf(this.#idOf(client))
    if (this.#slots[slot] === undefined) this.#count += 1
    this.#slots[slot] = client
  }

  /** Where the client with this id is, or the free slot where it would be. */
  #slotOf(id: Uint8Array): number {
    const last = this.#slots.length - 1
    for (let slot = startOf(id) & last; ; slot = (slot + 1) & last) {
      const client = this.#slots[slot]
      if (client === undefined || isSame(this.#idOf(client), id)) return slot
    }
  }

  #grow(): void {
    const before = this.#slots
    this.#slots = emptySlots(before.length * 2)
    for (const client of before) if (client !== undefined) this.#slots[this.#slotOf(this.#idOf(client))] = client
  }
}

function emptySlots(count: number): (Client | undefined)[] {
  return new Array<Client | undefined>(count).fill(undefined)
}

function startOf(id: Uint8Array): number {
  const [a = 0, b = 0, c = 0, d = 0] = [id[0], id[1], id[2], id[3]]
  return a | (b << 8) | (c << 16) | (d << 24)
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false
  return true
}

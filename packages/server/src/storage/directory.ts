import { encode } from '@messageu/protocol'
import { type ClientId, Listed, type Name } from '@messageu/protocol/v2'
import type { Client } from '../storage.ts'
import { ClientsById } from './clientsbyid.ts'

const blockClients = 1024

/** A name as an element of a set: one character a byte. */
const keyOf = (name: Name): string => Buffer.from(name).toString('latin1')

/**
 * Everybody who is registered, in memory, with the list of all of them kept as the bytes that go on the wire: a list
 * is answered without encoding anything, and readers of any slowness share the same bytes.
 */
export class Directory {
  readonly #byLogin = new ClientsById(({ login }) => login)
  readonly #byId = new ClientsById(({ id }) => id)
  readonly #byNumber: Client[] = []
  readonly #names = new Set<string>()
  readonly #blocks: Buffer[] = []
  /** Place in the list by client number. */
  readonly #places = new Map<number, number>()

  get count(): number {
    return this.#byNumber.length
  }

  /** Names in use, those of registrations that are not yet durable included. */
  get claims(): number {
    return this.#names.size
  }

  byLogin(login: ClientId): Client | undefined {
    return this.#byLogin.find(login)
  }

  byId(id: ClientId): Client | undefined {
    return this.#byId.find(id)
  }

  /** Takes a name out of circulation; false if it is in use or about to be. */
  claimName(name: Name): boolean {
    const key = keyOf(name)
    if (this.#names.has(key)) return false
    this.#names.add(key)
    return true
  }

  releaseName(name: Name): void {
    this.#names.delete(keyOf(name))
  }

  /** Adds a client whose name was claimed, at the end of the list. */
  add(client: Client): void {
    const place = this.#byNumber.length
    if (place % blockClients === 0) this.#blocks.push(Buffer.alloc(blockClients * Listed.max))
    const block = this.#blocks[Math.floor(place / blockClients)] as Buffer
    block.set(encode(Listed, { client: client.id, name: client.name }), (place % blockClients) * Listed.max)
    this.#byNumber.push(client)
    this.#places.set(client.number, place)
    this.#byLogin.add(client)
    this.#byId.add(client)
  }

  listing(asker: Client): Uint8Array[] {
    const place = this.#places.get(asker.number) ?? this.count
    return [...this.#slices(0, place), ...this.#slices(place + 1, this.count)]
  }

  *#slices(from: number, to: number): Iterable<Uint8Array> {
    for (let at = from; at < to; ) {
      const first = at % blockClients
      const last = Math.min(blockClients, first + to - at)
      yield (this.#blocks[Math.floor(at / blockClients)] as Buffer).subarray(first * Listed.max, last * Listed.max)
      at += last - first
    }
  }
}

import { type Change, type Key, type Row, rowName, type Store, type Table } from './store.ts'

interface Held {
  readonly value: Uint8Array | undefined
  readonly bytes: number
}

/** What a row costs beside its bytes. */
const entryBytes = 200

/**
 * A store that remembers what single rows say, so that those which every message needs are not opened again for each. As
 * much as `bytesMax`, what was used last; nothing that is not committed. It hands out, and keeps, the very bytes: nobody
 * may write into them, and what they were decoded to can be known by them (`getRow`).
 */
export class CachedStore implements Store {
  readonly #store: Store
  readonly #bytesMax: number
  /** In the order of use. */
  readonly #held = new Map<string, Held>()
  #bytes = 0
  /** Of the store when what is held was true. */
  #revision: number

  constructor(store: Store, { bytesMax }: { bytesMax: number }) {
    this.#store = store
    this.#bytesMax = bytesMax
    this.#revision = store.revision
  }

  get revision(): number {
    return this.#store.revision
  }

  async get(table: Table, key: Key): Promise<Uint8Array | undefined> {
    this.#forgetIfChanged()
    const name = rowName(table, key)
    const held = this.#held.get(name)
    if (held !== undefined) {
      this.#held.delete(name)
      this.#held.set(name, held)
      return held.value
    }
    const { revision } = this.#store
    const value = await this.#store.get(table, key)
    if (this.#store.revision === revision && this.#revision === revision) this.#hold(name, value)
    return value
  }

  read(table: Table, range: { after?: Key | undefined; limit: number }): Promise<readonly Row[]> {
    return this.#store.read(table, range)
  }

  async commit(changes: readonly Change[], expectedRevision: number): Promise<number> {
    this.#forgetIfChanged()
    const committing = this.#store.commit(changes, expectedRevision)
    const isShown = this.#store.revision !== this.#revision
    if (isShown) this.#keep(changes, this.#store.revision)
    const revision = await committing
    if (!isShown) this.#keep(changes, revision)
    return revision
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]()
  }

  /** What a commit has made of the store, be it on the disk yet or not. */
  #keep(changes: readonly Change[], revision: number): void {
    for (const { table, key, value } of changes) this.#hold(rowName(table, key), value)
    this.#revision = revision
  }

  /** Somebody has written past this. */
  #forgetIfChanged(): void {
    if (this.#revision === this.#store.revision) return
    this.#held.clear()
    this.#bytes = 0
    this.#revision = this.#store.revision
  }

  #hold(name: string, value: Uint8Array | undefined): void {
    this.#drop(name)
    const bytes = entryBytes + (value?.length ?? 0)
    if (bytes > this.#bytesMax / 4) return
    this.#held.set(name, { value, bytes })
    this.#bytes += bytes
    for (const oldest of this.#held.keys()) {
      if (this.#bytes <= this.#bytesMax) return
      this.#drop(oldest)
    }
  }

  #drop(name: string): void {
    const held = this.#held.get(name)
    if (held === undefined) return
    this.#held.delete(name)
    this.#bytes -= held.bytes
  }
}

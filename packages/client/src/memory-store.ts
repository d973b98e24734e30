import { type Change, type Key, keyText, type Row, revisionConflict, type Store, type Table } from './store.ts'

/** A store that ends with the process: for tests, and for accounts that are not meant to last. */
export class MemoryStore implements Store {
  readonly #tables = new Map<Table, Map<string, Row>>()
  #revision = 0

  get revision(): number {
    return this.#revision
  }

  get(table: Table, key: Key): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#table(table).get(keyText(key))?.value.slice())
  }

  read(table: Table, { after, limit }: { after?: Key | undefined; limit: number }): Promise<readonly Row[]> {
    const behind = after === undefined ? '' : keyText(after)
    const rows = [...this.#table(table)]
      .filter(([text]) => after === undefined || text > behind)
      .sort(([one], [other]) => (one < other ? -1 : 1))
    return Promise.resolve(rows.slice(0, limit).map(([, row]) => copyOf(row)))
  }

  commit(changes: readonly Change[], expectedRevision: number): Promise<number> {
    if (expectedRevision !== this.#revision) return Promise.reject(revisionConflict(expectedRevision, this.#revision))
    const named = changes.map((change) => ({ ...change, text: keyText(change.key) }))
    for (const { table, key, value, text } of named) {
      if (value === undefined) this.#table(table).delete(text)
      else this.#table(table).set(text, copyOf({ key, value }))
    }
    this.#revision += 1
    return Promise.resolve(this.#revision)
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #table(table: Table): Map<string, Row> {
    const rows = this.#tables.get(table) ?? new Map<string, Row>()
    this.#tables.set(table, rows)
    return rows
  }
}

function copyOf({ key, value }: Row): Row {
  return { key: typeof key === 'number' ? key : key.slice(), value: value.slice() }
}

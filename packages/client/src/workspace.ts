import { readOverlaid } from './overlaid.ts'
import { type Change, type Key, type Row, type RowStore, rowName, type Store, type Table } from './store.ts'

/**
 * What a piece of work makes of a store, before any of it is stored: it reads its own changes, and nobody else does.
 * Whoever has begun it commits `changes`, at the revision at which it was begun, or forgets it.
 */
export class Workspace implements RowStore {
  readonly revision: number
  readonly #store: Pick<Store, 'get' | 'read' | 'revision'>
  readonly #changes = new Map<string, Change>()

  constructor(store: Pick<Store, 'get' | 'read' | 'revision'>) {
    this.#store = store
    this.revision = store.revision
  }

  get changes(): readonly Change[] {
    return [...this.#changes.values()]
  }

  get(table: Table, key: Key): Promise<Uint8Array | undefined> {
    const changed = this.#changes.get(rowName(table, key))
    return changed === undefined ? this.#store.get(table, key) : Promise.resolve(changed.value)
  }

  read(table: Table, range: { after?: Key | undefined; limit: number }): Promise<readonly Row[]> {
    return readOverlaid(this.#store, this.#changes, table, range)
  }

  put(...changes: readonly Change[]): void {
    for (const change of changes) this.#changes.set(rowName(change.table, change.key), change)
  }

  /** For what is written to go to a store: here it only joins the other changes. */
  commit(changes: readonly Change[]): Promise<number> {
    this.put(...changes)
    return Promise.resolve(this.revision)
  }
}

import { type Change, isConflict, type RowStore, type Store } from './store.ts'
import { Workspace } from './workspace.ts'

/**
 * What to store, by rows as they are when it is its turn: those that were decided before it in the same commit included.
 * It has no effect but what it returns, and may be asked again.
 */
export type Decision<T> = (store: RowStore) => Promise<{ readonly changes: readonly Change[]; readonly result: T }>

interface Waiting {
  readonly decide: Decision<unknown>
  resolve(result: unknown): void
  reject(error: unknown): void
}

/** What one commit holds at the most: a sync costs as much as many small decisions. */
const decisionsMax = 64
/** How often whoever writes past this may be faster before that is a mistake of ours. */
const attemptsMax = 100

/**
 * Commits decisions in the order in which they were asked for. Those that come while others are being decided share their
 * commit, so that many cost little more than one; nobody waits for company, and a lone one is committed at once.
 */
export class Committer {
  readonly #store: Store
  readonly #waiting: Waiting[] = []
  #work: Promise<void> | undefined

  constructor(store: Store) {
    this.#store = store
  }

  /** Resolves with the result when what was decided is durable. A decision that throws changes nothing, alone. */
  run<T>(decide: Decision<T>): Promise<T> {
    const done = Promise.withResolvers<T>()
    this.#waiting.push({ decide, resolve: (result) => done.resolve(result as T), reject: done.reject }) // what decide returned
    this.#work ??= this.#commitAll()
    return done.promise
  }

  /** Resolves when nothing is being stored any more. */
  async idle(): Promise<void> {
    while (this.#work !== undefined) await this.#work
  }

  async #commitAll(): Promise<void> {
    await Promise.resolve() // whoever asks in the same turn shares the commit
    while (this.#waiting.length > 0) await this.#commit()
    this.#work = undefined
  }

  async #commit(): Promise<void> {
    const batch: Waiting[] = []
    for (let attempt = 1; ; attempt++) {
      const decided = await this.#decide(batch)
      try {
        if (decided.changes.length > 0) await this.#store.commit(decided.changes, decided.revision)
        for (const settle of decided.outcomes) settle()
        return
      } catch (error) {
        if (isConflict(error) && attempt < attemptsMax) continue
        for (const { reject } of batch) reject(error)
        return
      }
    }
  }

  /** Those of the batch, and whoever comes meanwhile. */
  async #decide(batch: Waiting[]) {
    const workspace = new Workspace(this.#store)
    const outcomes: (() => void)[] = []
    for (let next = this.#join(batch, 0); next !== undefined; next = this.#join(batch, outcomes.length)) {
      const { decide, resolve, reject } = next
      try {
        const { changes, result } = await decide(workspace)
        workspace.put(...changes)
        outcomes.push(() => resolve(result))
      } catch (error) {
        outcomes.push(() => reject(error))
      }
    }
    return { changes: workspace.changes, revision: workspace.revision, outcomes }
  }

  /** The next of the batch; behind its last, the next that waits, as long as there is room. */
  #join(batch: Waiting[], index: number): Waiting | undefined {
    const waiting = index === batch.length && index < decisionsMax ? this.#waiting.shift() : undefined
    if (waiting !== undefined) batch.push(waiting)
    return batch[index]
  }
}

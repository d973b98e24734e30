import { change } from '../store.ts'
import type { Desk } from './desk.ts'
import { Work } from './work.ts'

/** Stores what `write` does, in one step, and says so. Decides again when somebody else was faster. */
export async function write<T>(
  { store, tools, bell }: Pick<Desk, 'store' | 'tools' | 'bell'>,
  decide: (work: Work) => Promise<T>,
): Promise<T> {
  const result = await change(store, async () => {
    const work = new Work(store, tools)
    const result = await decide(work)
    return { changes: work.store.changes, result }
  })
  bell.ring()
  return result
}

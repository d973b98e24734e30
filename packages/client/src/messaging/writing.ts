import { type Desk, look } from './desk.ts'
import type { Work } from './work.ts'

/** Stores what `decide` does, in one step, and says so. */
export async function write<T>(desk: Desk, decide: (work: Work) => Promise<T>): Promise<T> {
  const result = await desk.session.change(async (rows) => {
    const work = look(desk, rows)
    const result = await decide(work)
    return { changes: work.store.changes, result }
  })
  desk.bell.ring()
  desk.tools.written()
  return result
}

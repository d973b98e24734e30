import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { MemoryStore } from '../src/memory-store.ts'
import type { Key } from '../src/store.ts'
import { Workspace } from '../src/workspace.ts'

const key = fc.integer({ min: 0, max: 5 })
const value = fc.option(fc.uint8Array({ maxLength: 4 }), { nil: undefined })
const changes = fc.array(fc.record({ table: fc.constantFrom('history', 'drafts'), key, value }), { maxLength: 12 })

describe('a piece of work on a store', () => {
  test('reads what it has written, and the store what it was; committed, both are the same', async () => {
    await fc.assert(
      fc.asyncProperty(changes, changes, async (before, written) => {
        const store = new MemoryStore()
        await store.commit(before, 0)
        const untouched = await contents(store)
        const work = new Workspace(store)
        for (const change of written) work.put(change)
        const seen = await contents(work)
        assert.deepEqual(await contents(store), untouched)
        await store.commit(work.changes, work.revision)
        assert.deepEqual(await contents(store), seen)
      }),
    )
  })

  test('reads ranges as they will be, page by page, also through another piece of work', async () => {
    const bytesKey = fc.uint8Array({ minLength: 1, maxLength: 1, max: 8 })
    const change = fc.oneof(
      fc.record({ table: fc.constant('history' as const), key, value }),
      fc.record({ table: fc.constant('errands' as const), key: bytesKey, value }),
    )
    const some = fc.array(change, { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(some, some, some, fc.integer({ min: 1, max: 4 }), async (before, written, later, limit) => {
        const store = new MemoryStore()
        await store.commit(before, 0)
        const outer = new Workspace(store)
        outer.put(...written)
        const work = new Workspace(outer)
        work.put(...later)
        const seen = { history: await pages(work, 'history', limit), errands: await pages(work, 'errands', limit) }
        await store.commit([...outer.changes, ...work.changes], store.revision)
        assert.deepEqual(seen.history, await pages(store, 'history', 100))
        assert.deepEqual(new Set(seen.errands), new Set(await pages(store, 'errands', 100)))
        assert.equal(new Set(seen.errands).size, seen.errands.length)
      }),
    )
  })

  test('keeps the last of several changes to one row', async () => {
    const store = new MemoryStore()
    const work = new Workspace(store)
    for (const byte of [1, 2, 3]) work.put({ table: 'history', key: 1, value: Uint8Array.of(byte) })
    assert.equal(work.changes.length, 1)
    assert.deepEqual(await work.get('history', 1), Uint8Array.of(3))
  })

  test('that was overtaken is not stored', async () => {
    const store = new MemoryStore()
    const work = new Workspace(store)
    work.put({ table: 'history', key: 1, value: Uint8Array.of(1) })
    await store.commit([{ table: 'drafts', key: 1, value: Uint8Array.of(2) }], 0)
    await assert.rejects(store.commit(work.changes, work.revision), { reason: 'revision-conflict' })
    assert.equal(await store.get('history', 1), undefined)
  })
})

async function contents(store: Pick<MemoryStore, 'get'>): Promise<unknown> {
  const rows: unknown[] = []
  for (const table of ['history', 'drafts'] as const)
    for (let key = 0; key <= 5; key++) rows.push([table, key, await store.get(table, key)])
  return rows
}

/** The rows of a table as text, in the order in which they are read. */
async function pages(store: Pick<MemoryStore, 'read'>, table: 'history' | 'errands', limit: number): Promise<string[]> {
  const found: string[] = []
  for (let after: Key | undefined; ; ) {
    const rows = await store.read(table, { after, limit })
    found.push(...rows.map(({ key, value }) => `${key}: ${value}`))
    after = rows.at(-1)?.key
    if (rows.length < limit) return found
  }
}

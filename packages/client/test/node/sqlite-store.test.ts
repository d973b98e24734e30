import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { Secret } from '@messageu/e2ee'
import { SqliteStore } from '../../src/node/sqlite-store.ts'
import type { Change } from '../../src/store.ts'

const key = new Secret(new Uint8Array(32).fill(4))
const put = (number: number, ...value: number[]): Change => ({
  table: 'outbox',
  key: number,
  value: Uint8Array.from(value),
})
const drop = (number: number): Change => ({ table: 'outbox', key: number, value: undefined })
const named = (name: number, ...value: number[]): Change => ({
  table: 'pins',
  key: Uint8Array.of(name),
  value: Uint8Array.from(value),
})

/** The rows of a store that was opened again: which it does only if they are those that its head tells of. */
async function afterReopening(work: (store: SqliteStore) => Promise<void>): Promise<readonly number[][]> {
  const folder = await mkdtemp(path.join(tmpdir(), 'messageu-rows-'))
  try {
    const file = path.join(folder, 'profile.db')
    {
      await using store = await SqliteStore.open(file, key)
      await work(store)
    }
    await using store = await SqliteStore.open(file, key)
    const rows = [...(await store.read('outbox', { limit: 10_000 })), ...(await store.read('pins', { limit: 10 }))]
    return rows.map((row) => [...(typeof row.key === 'number' ? [row.key] : row.key), ...row.value])
  } finally {
    await rm(folder, { recursive: true })
  }
}

describe('K06: a store opens again with exactly what it held', () => {
  test('after rows were rewritten and dropped, in one commit and in several', async () => {
    const rows = await afterReopening(async (store) => {
      await store.commit([put(1, 1), put(2, 1), named(9, 1)], 0)
      await store.commit([put(1, 2), put(1, 3), drop(2), drop(3), named(9, 2)], 1)
      await store.commit([drop(1), put(1, 4), put(2, 5), named(9, 3)], 2)
    })
    assert.deepEqual(rows, [[1, 4], [2, 5], [9, 3]]) // biome-ignore format: short
  })

  test('after commits that failed in the middle of rows that were written before and of new ones', async () => {
    const rows = await afterReopening(async (store) => {
      await store.commit([put(1, 1), put(2, 1)], 0)
      await assert.rejects(store.commit([put(1, 2), drop(2), put(3, 3), put(-1, 1)], 1))
      await store.commit([put(1, 4), put(3, 4)], 1)
      await store.commit([drop(2)], 2)
    })
    assert.deepEqual(rows, [[1, 4], [3, 4]]) // biome-ignore format: short
  })

  test('after more rows than it remembers', async () => {
    const count = 5_000
    const all = (value: number): readonly Change[] => Array.from({ length: count }, (_, i) => put(i, value))
    const rows = await afterReopening(async (store) => {
      await store.commit(all(1), 0)
      await store.commit([...all(2), drop(0)], 1)
    })
    assert.equal(rows.length, count - 1)
    assert.ok(rows.every(([, value]) => value === 2))
  })
})

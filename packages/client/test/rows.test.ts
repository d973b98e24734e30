import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Codec, u32 } from '@messageu/protocol'
import { CachedStore } from '../src/cached-store.ts'
import { MemoryStore } from '../src/memory-store.ts'
import { getRow, putRow } from '../src/rows.ts'

test('a row that is held is decoded once for each time that it is written, and says what was written last', async () => {
  let reads = 0
  const codec: Codec<number> = {
    ...u32,
    read: (source) => {
      reads += 1
      return u32.read(source)
    },
  }
  const kind = { table: 'outbox', codec } as const
  const store = new CachedStore(new MemoryStore(), { bytesMax: 10_000 })
  for (const value of [7, 8]) {
    await store.commit([putRow(kind, 1, value)], store.revision)
    for (let i = 0; i < 3; i++) assert.equal(await getRow(store, kind, 1), value)
  }
  assert.equal(reads, 2)
})

test('bytes are never taken for what another kind of row made of them', async () => {
  const store = new CachedStore(new MemoryStore(), { bytesMax: 10_000 })
  const one = { table: 'outbox', codec: u32 } as const
  const other = {
    table: 'outbox',
    codec: { ...u32, read: (source) => u32.read(source) + 1 } satisfies Codec<number>,
  } as const
  await store.commit([putRow(one, 1, 5)], 0)
  assert.equal(await getRow(store, one, 1), 5)
  assert.equal(await getRow(store, other, 1), 6)
})

test('a row is held from when the store shows it, though it is not durable yet', async () => {
  const durable = Promise.withResolvers<void>()
  class Slow extends MemoryStore {
    gets = 0

    override get(...row: Parameters<MemoryStore['get']>): ReturnType<MemoryStore['get']> {
      this.gets += 1
      return super.get(...row)
    }

    override async commit(...commit: Parameters<MemoryStore['commit']>): Promise<number> {
      const revision = await super.commit(...commit)
      await durable.promise
      return revision
    }
  }
  const slow = new Slow()
  const store = new CachedStore(slow, { bytesMax: 10_000 })
  const kind = { table: 'outbox', codec: u32 } as const
  const commit = store.commit([putRow(kind, 1, 5)], 0)
  assert.equal(await getRow(store, kind, 1), 5)
  const other = store.commit([putRow(kind, 2, 6)], store.revision)
  durable.resolve()
  assert.deepEqual(await Promise.all([commit, other]), [1, 2])
  assert.equal(await getRow(store, kind, 1), 5)
  assert.equal(await getRow(store, kind, 2), 6)
  assert.equal(slow.gets, 0)
})

import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { Secret } from '@messageu/e2ee'
import fc from 'fast-check'
import { MemoryStore } from '../src/memory-store.ts'
import { SqliteStore } from '../src/node/sqlite-store.ts'
import { type Change, change, type Key, type Row, type Store } from '../src/store.ts'

interface Opened extends AsyncDisposable {
  readonly store: Store
}

async function openMemory(): Promise<Opened> {
  const store = new MemoryStore()
  return { store, [Symbol.asyncDispose]: async () => {} }
}

async function openSqlite(): Promise<Opened> {
  const folder = await mkdtemp(path.join(tmpdir(), 'messageu-store-'))
  const store = await SqliteStore.open(path.join(folder, 'profile.db'), new Secret(new Uint8Array(32).fill(1)))
  return {
    store,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await rm(folder, { recursive: true })
    },
  }
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

for (const [name, open] of Object.entries({ memory: openMemory, sqlite: openSqlite }))
  describe(`the store in ${name}`, () => {
    test('what was committed is there, and what was taken away is not', async () => {
      await using opened = await open()
      const { store } = opened
      await store.commit([{ table: 'pins', key: bytes(1), value: bytes(9) }], 0)
      assert.deepEqual(await store.get('pins', bytes(1)), bytes(9))
      assert.equal(await store.get('pins', bytes(2)), undefined)
      assert.equal(await store.get('lists', bytes(1)), undefined, 'tables are apart')
      await store.commit([{ table: 'pins', key: bytes(1), value: undefined }], 1)
      assert.equal(await store.get('pins', bytes(1)), undefined)
    })

    test('every commit makes a new revision, and names the one that it is made on', async () => {
      await using opened = await open()
      const { store } = opened
      assert.equal(store.revision, 0)
      assert.equal(await store.commit([], 0), 1)
      assert.equal(store.revision, 1)
      const late: Change = { table: 'pins', key: bytes(1), value: bytes(1) }
      await assert.rejects(store.commit([late], 0), { reason: 'revision-conflict' })
      await assert.rejects(store.commit([late], 2), { reason: 'revision-conflict' })
      assert.equal(await store.get('pins', bytes(1)), undefined, 'nothing of it was stored')
      assert.equal(store.revision, 1)
    })

    test('a commit that fails changes nothing', async () => {
      await using opened = await open()
      const { store } = opened
      const good: Change = { table: 'outbox', key: 1, value: bytes(1) }
      await assert.rejects(async () => store.commit([good, { table: 'outbox', key: -1, value: bytes(2) }], 0))
      assert.equal(store.revision, 0)
      assert.equal(await store.get('outbox', 1), undefined)
      assert.equal(await store.commit([good], 0), 1)
    })

    test('rows with numbers are read in their order, page by page', async () => {
      await using opened = await open()
      const { store } = opened
      const numbers = [300, 2, 2 ** 40, 1, 255, 256]
      await store.commit(
        numbers.map((key) => ({ table: 'outbox', key, value: bytes(7) })),
        0,
      )
      assert.deepEqual(await keysOf(store, 'outbox', 2), [1, 2, 255, 256, 300, 2 ** 40])
      assert.deepEqual(
        (await store.read('outbox', { after: 100, limit: 1 })).map(({ key }) => key),
        [255],
      )
    })

    test('rows with keys of bytes are read once each, page by page', async () => {
      await using opened = await open()
      const { store } = opened
      const keys = Array.from({ length: 25 }, (_, i) => bytes(i, 1))
      await store.commit(
        keys.map((key) => ({ table: 'pins', key, value: key })),
        0,
      )
      const found = (await keysOf(store, 'pins', 4)).map(String)
      assert.deepEqual(found.toSorted(), keys.map(String).toSorted())
    })

    test('nobody changes what is stored by writing into a buffer', async () => {
      await using opened = await open()
      const { store } = opened
      const value = bytes(1)
      await store.commit([{ table: 'pins', key: bytes(1), value }], 0)
      value[0] = 2
      const first = await store.get('pins', bytes(1))
      first?.fill(3)
      assert.deepEqual(await store.get('pins', bytes(1)), bytes(1))
    })

    test('it holds what a map would hold', async () => {
      const key = fc.oneof(fc.nat(5), fc.uint8Array({ minLength: 1, maxLength: 2 }))
      const step = fc.array(fc.record({ key, value: fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined }) }))
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 6 }), async (steps) => {
          await using opened = await open()
          const { store } = opened
          const expected = new Map<string, Uint8Array>()
          for (const changes of steps) {
            await store.commit(
              changes.map((each) => ({ table: tableOf(each.key), ...each })),
              store.revision,
            )
            for (const { key, value } of changes) {
              if (value === undefined) expected.delete(`${tableOf(key)} ${key}`)
              else expected.set(`${tableOf(key)} ${key}`, value)
            }
          }
          const rows = [...(await rowsOf(store, 'outbox', 3)), ...(await rowsOf(store, 'content', 3))]
          assert.deepEqual(new Map(rows.map(({ key, value }) => [`${tableOf(key)} ${key}`, value])), expected)
        }),
        { numRuns: 25 },
      )
    })

    test('whoever was overtaken decides again', async () => {
      await using opened = await open()
      const { store } = opened
      const add = () =>
        change(store, async () => {
          const [count = 0] = (await store.get('content', bytes(1))) ?? []
          await new Promise((resolve) => setImmediate(resolve))
          return { changes: [{ table: 'content', key: bytes(1), value: bytes(count + 1) }], result: undefined }
        })
      await Promise.all(Array.from({ length: 10 }, add))
      assert.deepEqual(await store.get('content', bytes(1)), bytes(10))
    })
  })

function tableOf(key: Key): 'outbox' | 'content' {
  return typeof key === 'number' ? 'outbox' : 'content'
}

async function rowsOf(store: Store, table: 'outbox' | 'pins' | 'content', limit: number): Promise<Row[]> {
  const rows: Row[] = []
  for (let after: Key | undefined; ; ) {
    const page = await store.read(table, { after, limit })
    rows.push(...page)
    after = page.at(-1)?.key
    if (page.length < limit) return rows
  }
}

async function keysOf(store: Store, table: 'outbox' | 'pins', limit: number): Promise<Key[]> {
  return (await rowsOf(store, table, limit)).map(({ key }) => key)
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Committer } from '../src/committer.ts'
import { MemoryStore } from '../src/memory-store.ts'
import { type Change, isConflict, type RowStore, type Store } from '../src/store.ts'

const row = (key: number, value: number): Change => ({ table: 'outbox', key, value: Uint8Array.of(value) })
const held = async (store: Pick<RowStore, 'get'>, key: number) => (await store.get('outbox', key))?.[0]

/** Decides on a row by what the row before it says, after a while. */
const following = (key: number) => async (store: RowStore) => {
  await turn()
  return { changes: [row(key, ((await held(store, key - 1)) ?? 0) + 1)], result: store.revision }
}

test('whoever comes while another one is decided shares its commit, and decides on what that one did', async () => {
  const store = new MemoryStore()
  const committer = new Committer(store)
  const first = committer.run(following(1))
  await turn() // the first is being decided
  await Promise.all([first, committer.run(following(2)), committer.run(following(3))])
  assert.equal(store.revision, 1)
  assert.deepEqual(await Promise.all([1, 2, 3].map((key) => held(store, key))), [1, 2, 3])
})

test('a commit does not grow for ever while more keep coming', async () => {
  const store = new MemoryStore()
  const committer = new Committer(store)
  const count = 200
  await Promise.all(Array.from({ length: count }, (_, i) => committer.run(following(i + 1))))
  assert.equal(store.revision, Math.ceil(count / 64))
  assert.equal(await held(store, count), count)
})

test('those who joined are decided again as well when somebody else was faster, each once', async () => {
  const store = new MemoryStore()
  let conflicts = 0
  const overtaken: Store = Object.assign(Object.create(store) as Store, {
    get: store.get.bind(store),
    read: store.read.bind(store),
    commit: async (changes: readonly Change[], revision: number) => {
      if (conflicts === 0) await store.commit([row(0, 100)], store.revision)
      try {
        return await store.commit(changes, revision)
      } catch (error) {
        if (isConflict(error)) conflicts += 1
        throw error
      }
    },
  })
  Object.defineProperty(overtaken, 'revision', { get: () => store.revision })
  const committer = new Committer(overtaken)
  const first = committer.run(following(1))
  await turn()
  await Promise.all([first, committer.run(following(2))])
  assert.equal(conflicts, 1)
  assert.deepEqual(await Promise.all([1, 2].map((key) => held(store, key))), [101, 102])
})

test('a decision that throws takes nobody with it who joined', async () => {
  const store = new MemoryStore()
  const committer = new Committer(store)
  const failing = committer.run(async () => {
    await turn()
    throw new Error('undecided')
  })
  const other = Promise.resolve().then(() => committer.run(following(1)))
  await assert.rejects(failing, /undecided/)
  await other
  assert.equal(await held(store, 1), 1)
})

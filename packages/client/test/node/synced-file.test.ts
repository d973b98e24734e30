import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { SyncedFile } from '../../src/node/synced-file.ts'

const noSync = { skip: process.platform !== 'linux' && 'a file that cannot be synced is only known on Linux' }

test('whoever asks while a sync is under way shares the next one, which begins after it', async () => {
  const syncs: PromiseWithResolvers<void>[] = []
  const file = new SyncedFile(fileURLToPath(import.meta.url), () => {
    const sync = Promise.withResolvers<void>()
    syncs.push(sync)
    return sync.promise
  })
  const ended: string[] = []
  const ask = (who: string) => file.sync().then(() => ended.push(who))
  const first = ask('first')
  const others = [ask('second'), ask('third')]
  assert.equal(syncs.length, 1)
  syncs[0]?.resolve()
  await first
  await turn()
  assert.deepEqual(ended, ['first'], 'what was written meanwhile is not known to be on the disk')
  assert.equal(syncs.length, 2)
  syncs[1]?.resolve()
  await Promise.all(others)
  const last = ask('last')
  assert.equal(syncs.length, 3)
  syncs[2]?.resolve()
  await last
  await file[Symbol.asyncDispose]()
})

for (const others of [0, 1])
  test(`K04: after a sync that failed while ${others} waited, no later one of the file succeeds, and none is tried`, async () => {
    let syncs = 0
    await using file = new SyncedFile(fileURLToPath(import.meta.url), async () => {
      syncs += 1
      if (syncs === 1) throw new Error('EIO')
    })
    const asked = Array.from({ length: 1 + others }, () => file.sync())
    for (const each of asked) await assert.rejects(each, /EIO/)
    await assert.rejects(file.sync(), /EIO/)
    assert.equal(syncs, 1)
  })

test('K04: a file that cannot be synced says so', noSync, async () => {
  await using file = new SyncedFile('/dev/null')
  await assert.rejects(file.sync(), { code: 'EINVAL' })
})

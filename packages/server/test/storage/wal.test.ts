import assert from 'node:assert/strict'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { DamagedStorage } from '../../src/storage/damage.ts'
import { verifyWal } from '../../src/storage/wal.ts'
import { temporaryFolder } from '../world.ts'

const headerBytes = 32
const frameBytes = 24 + 4096
const frame = (index: number): number => headerBytes + index * frameBytes

/** A database with a write-ahead log of `commits` transactions, as a crash leaves it. */
async function startLog(commits: number) {
  const folder = await temporaryFolder()
  const file = path.join(folder.path, 'test.db')
  const database = new DatabaseSync(file)
  database.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a)')
  const insert = database.prepare('INSERT INTO t VALUES(?)')
  for (let i = 1; i < commits; i++) insert.run(`row ${i}`)
  const log = path.join(folder.path, 'copy-wal')
  copyFileSync(`${file}-wal`, log)
  return {
    log,
    database,
    insert,
    file,
    bytes: readFileSync(log),
    verify: (bytes: Uint8Array) => {
      writeFileSync(log, bytes)
      verifyWal(log)
    },
    async [Symbol.asyncDispose]() {
      database.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

function flipped(bytes: Buffer, at: number, bit = 0): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << bit), at)
  return copy
}

const damaged = (error: unknown): boolean => error instanceof DamagedStorage && error.object === 'server.db-wal'

suite('K06 write-ahead log', () => {
  test('a whole one is accepted, and so is none or an empty one', async () => {
    await using world = await startLog(5)
    verifyWal(world.log)
    verifyWal(`${world.log}-missing`)
    world.verify(Buffer.alloc(0))
    world.verify(Buffer.alloc(headerBytes))
    world.verify(Buffer.alloc(3 * frameBytes))
  })

  test('a flipped bit anywhere in its header is damage', async () => {
    await using world = await startLog(5)
    for (let at = 0; at < headerBytes; at++)
      for (let bit = 0; bit < 8; bit++)
        assert.throws(() => world.verify(flipped(world.bytes, at, bit)), damaged, `byte ${at}`)
  })

  test('a flipped bit in a frame with commits behind it is damage', async () => {
    await using world = await startLog(6)
    for (let index = 0; index < 3; index++) {
      for (const at of [0, 3, 16, 20, 23]) // page number and checksums
        assert.throws(
          () => world.verify(flipped(world.bytes, frame(index) + at)),
          damaged,
          `frame ${index}, byte ${at}`,
        )
      for (const at of [0, 1, 100, 2048, 4095]) // the page
        assert.throws(() => world.verify(flipped(world.bytes, frame(index) + 24 + at)), damaged)
    }
  })

  test('a log that is torn anywhere in its last transaction is accepted', async () => {
    await using world = await startLog(4)
    const { bytes } = world
    const last = bytes.length - frameBytes
    for (const length of [last, last + 1, last + 24, last + 2000, bytes.length - 1])
      world.verify(bytes.subarray(0, length))
    for (const at of [0, 5, 16, 24, 2000, frameBytes - 1]) world.verify(flipped(bytes, last + at))
    const zeroed = Buffer.from(bytes)
    zeroed.fill(0, last)
    world.verify(zeroed)
  })

  test('frames of an earlier generation behind the end are accepted', async () => {
    await using world = await startLog(12)
    const { database, insert, file, log } = world
    database.exec('PRAGMA wal_checkpoint(RESTART)')
    insert.run('first of the next generation')
    insert.run('second of it')
    copyFileSync(`${file}-wal`, log)
    const bytes = readFileSync(log)
    assert.equal(bytes.length, world.bytes.length, 'the log was not shortened')
    verifyWal(log)
    assert.throws(() => world.verify(flipped(bytes, frame(0) + 500)), damaged)
    world.verify(flipped(bytes, frame(1) + 500))
    world.verify(flipped(bytes, frame(2) + 500)) // a page of the past: nobody reads it
  })
})

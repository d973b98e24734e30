import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DiskWatermark, freeSpaceOf } from '../../src/disk.ts'

/** A disk of 1000 bytes of which a tenth stays free, and a clock. */
async function startDisk(freeBytes: number) {
  const world = { freeBytes, nowMs: 0, looks: 0, broken: false }
  const look = async () => {
    world.looks += 1
    if (world.broken) throw new Error('no such disk')
    return { freeBytes: world.freeBytes, totalBytes: 1000 }
  }
  const disk = await DiskWatermark.open(look, 0.1, () => world.nowMs)
  /** Asks once to make it look, and lets it. */
  const lookAgain = async (ms: number): Promise<void> => {
    world.nowMs += ms
    if (disk.promise(0)) disk.giveBack(0)
    await new Promise(setImmediate)
  }
  return { world, disk, lookAgain }
}

suite('disk watermark', () => {
  test('promises as much as leaves the reserve alone', async () => {
    const { disk } = await startDisk(400)
    assert(disk.promise(200))
    assert(!disk.promise(101))
    assert(disk.promise(100))
    assert(!disk.promise(1))
    assert(disk.promise(0))
  })

  test('what is given back counts as stored until the next look', async () => {
    const { world, disk, lookAgain } = await startDisk(400)
    assert(disk.promise(300))
    disk.giveBack(300)
    assert(!disk.promise(1))
    world.freeBytes = 400 // it was not stored after all
    await lookAgain(1001)
    assert(disk.promise(300))
  })

  test('the disk is looked at about once a second, and only when somebody asks', async () => {
    const { world, lookAgain } = await startDisk(400)
    assert.equal(world.looks, 1)
    await lookAgain(1000)
    assert.equal(world.looks, 1)
    await lookAgain(1)
    assert.equal(world.looks, 2)
    for (let i = 0; i < 10; i++) await lookAgain(10)
    assert.equal(world.looks, 2)
  })

  test('below the reserve nothing is promised, and more space is noticed', async () => {
    const { world, disk, lookAgain } = await startDisk(99)
    assert(!disk.promise(0))
    world.freeBytes = 150
    await lookAgain(1001)
    assert(disk.promise(50))
  })

  test('K10 a clock that was set back by years does not stop the looking', async () => {
    const { world, disk, lookAgain } = await startDisk(0)
    world.freeBytes = 1000
    await lookAgain(-3e11)
    assert(disk.promise(500))
  })

  test('a disk that cannot be looked at gets nothing until it is there again', async () => {
    const { world, disk, lookAgain } = await startDisk(1000)
    world.broken = true
    await lookAgain(1001)
    assert(!disk.promise(1))
    world.broken = false
    await lookAgain(1001)
    assert(disk.promise(1))
  })

  test('the system says how much space there is', async () => {
    const { freeBytes, totalBytes } = await freeSpaceOf('.')
    assert(freeBytes > 0 && freeBytes <= totalBytes)
  })
})

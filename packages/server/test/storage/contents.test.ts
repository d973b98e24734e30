import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { suite, test } from 'node:test'
import { ContentFolder, contentIds } from '../../src/storage/contents.ts'
import { contentFolder, prepareFiles, prepareFolder } from '../../src/storage/folder.ts'
import type { Piece, StoredContent } from '../../src/storage.ts'
import { temporaryFolder } from '../world.ts'
import { pour } from './world.ts'

const openFiles = (): number => readdirSync('/proc/self/fd').length

async function startContents() {
  const folder = await temporaryFolder()
  await prepareFolder(folder.path)
  await prepareFiles(folder.path)
  const place = contentFolder(folder.path)
  const { contents } = await ContentFolder.open(place, new Set())
  return {
    place,
    contents,
    async stored(bytes: Uint8Array): Promise<StoredContent> {
      await using incoming = await contents.receive()
      await pour(incoming, bytes)
      const content = await incoming.finish()
      contents.claim(content)
      return content
    },
    async [Symbol.asyncDispose]() {
      await contents.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

suite('contents', () => {
  test('a content comes back while others come and go', async () => {
    await using world = await startContents()
    const { contents, stored } = world
    const before = openFiles()
    const sizes = [1, 65_537, 2 ** 20, 2 ** 20 + 1, 5_000_000]
    await Promise.all(
      [...sizes, ...sizes, ...sizes, ...sizes].map(async (size) => {
        const bytes = randomBytes(size)
        const content = await stored(bytes)
        assert.equal(content.bytes, size)
        const got: Buffer[] = []
        for await (const piece of contents.read(content)) {
          got.push(Buffer.from(piece.bytes))
          setImmediate(() => piece.release()) // as a socket would
        }
        assert(Buffer.concat(got).equals(bytes))
        await contents.remove([content.id])
      }),
    )
    assert.deepEqual(readdirSync(world.place), ['incoming'])
    assert.equal(contents.transfers, 0)
    assert.equal(openFiles(), before)
  })

  test('whoever keeps three pieces waits for the fourth until one is released', async () => {
    await using world = await startContents()
    const pieces = world.contents.read(await world.stored(randomBytes(9 * 2 ** 20)))
    const kept: Piece[] = []
    for (let i = 0; i < 3; i++) kept.push((await pieces.next()).value as Piece)
    const fourth = pieces.next()
    const early = await Promise.race([fourth, new Promise((resolve) => setTimeout(resolve, 100, 'not yet'))])
    assert.equal(early, 'not yet')
    kept[1]?.release()
    assert.equal((await fourth).value?.bytes.buffer, kept[1]?.bytes.buffer)
    await pieces.return(undefined)
  })

  test('a read that is given up closes its file', async () => {
    await using world = await startContents()
    const content = await world.stored(randomBytes(3_000_000))
    const before = openFiles()
    for await (const piece of world.contents.read(content)) {
      piece.release()
      break
    }
    assert.equal(openFiles(), before)
    assert.equal(world.contents.transfers, 0)
  })

  test('an upload that is given up with writes under way closes and removes its file', async () => {
    await using world = await startContents()
    const before = openFiles()
    {
      await using incoming = await world.contents.receive()
      for (let i = 0; i < 5; i++) incoming.write(randomBytes(2 ** 20))
      assert.equal(world.contents.transfers, 1)
    }
    assert.equal(openFiles(), before)
    assert.equal(world.contents.transfers, 0)
    assert.deepEqual(readdirSync(path.join(world.place, 'incoming')), [])
  })

  test('a writer that is too fast is asked to wait', async () => {
    await using world = await startContents()
    await using incoming = await world.contents.receive()
    let writes = 1
    while (incoming.write(randomBytes(2 ** 20))) writes += 1
    assert(writes <= 4, `${writes} MiB are under way`)
    await incoming.room()
    assert.equal((await incoming.finish()).bytes, writes * 2 ** 20)
  })

  test('K05 files that cannot be opened any more refuse the upload, and nothing else', async () => {
    await using world = await startContents()
    const content = await world.stored(randomBytes(70_000))
    writeFileSync(path.join(world.place, 'incoming', String(content.id + 1)), 'in the way')
    await assert.rejects(world.contents.receive(), { reason: 'storage-full' })
    await world.stored(randomBytes(70_000))
  })

  test('only files with the name of a number are contents', async () => {
    await using world = await startContents()
    for (const name of ['0', '07', '12', '1e3', '99999999999999999', 'x', '3.5'])
      writeFileSync(path.join(world.place, name), '')
    assert.deepEqual(await contentIds(world.place), [12])
  })
})

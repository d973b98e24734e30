import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { freeChunk } from '../../src/v2/freechunk.ts'
import { openSqliteIn, registered, startV2, temporaryFolder } from '../world.ts'
import { exchange, fetchAll, patterned, sendRequest, wrapped } from './peer.ts'

suite('the memory of a chunk', () => {
  test('is given back at once when the piece is all of it', () => {
    const piece = Buffer.allocUnsafeSlow(65_536)
    freeChunk(piece)
    assert.equal(piece.buffer.byteLength, 0)
  })

  test('stays when the piece is a part of it', () => {
    const chunk = Buffer.allocUnsafeSlow(65_536).fill(7)
    freeChunk(chunk.subarray(0, 65_535))
    freeChunk(chunk.subarray(1))
    assert(chunk.equals(Buffer.alloc(65_536, 7)))
  })

  test('is given back once an upload has written it, and the content arrives whole', async () => {
    await using folder = await temporaryFolder()
    const storage = await openSqliteIn(folder.path)
    const pieces: { piece: Uint8Array; all: boolean }[] = []
    await using world = await startV2(
      wrapped(storage, {
        async receive(bytes, release) {
          const content = await storage.receive(bytes, release)
          const write = content.write.bind(content)
          content.write = (piece) => {
            pieces.push({ piece, all: piece.byteLength === piece.buffer.byteLength })
            return write(piece)
          }
          return content
        },
      }),
    )
    const [alice, bob] = [await registered(storage, 'alice'), await registered(storage, 'bob')]
    const content = patterned(3_000_000)
    await exchange(world.port, sendRequest({ from: alice.login, to: bob.id, content }))
    assert(pieces.some(({ all }) => all))
    for (const { piece, all } of pieces) assert.equal(piece.byteLength === 0, all)
    assert((await fetchAll(world, bob))[0]?.content.equals(content))
  })
})

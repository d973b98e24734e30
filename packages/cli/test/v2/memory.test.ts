import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'
import { open, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { encode } from '@messageu/protocol'
import { answerHeader, Delivered, Receipt } from '@messageu/protocol/v2'
import * as v2 from '../../src/v2/client.ts'
import { sealedBytes } from '../../src/v2/crypto.ts'
import { startRaw } from './fake-server.ts'
import { idOf, saveFolder, World } from './world.ts'

const fileBytes = 300_000_000
/** Pieces that nobody has collected yet are part of it, also those of the server in this process. */
const allowed = fileBytes / 2

/** Remembers the most that was held outside of the heap. */
function watchMemory(): { sample(): void; readonly most: number } {
  const before = process.memoryUsage().arrayBuffers
  let most = 0
  return {
    sample() {
      most = Math.max(most, process.memoryUsage().arrayBuffers - before)
    },
    get most() {
      return most
    },
  }
}

test('a file of 300 MB is sent without holding it in memory', async () => {
  await using world = await World.start()
  const { alice, bob } = await world.pair()
  const path = join(world.folder, 'big')
  await writeFile(path, '')
  await using file = await open(path, 'r+')
  await file.truncate(fileBytes)
  const receipt = Buffer.concat([answerHeader('send', 20), encode(Receipt, { recipient: await idOf(bob), message: 1 })])
  let received = 0
  await using server = await startRaw((socket) => {
    socket.on('data', (chunk) => {
      received += chunk.length
      if (received === 43 + sealedBytes(fileBytes)) socket.end(receipt)
    })
  })
  const memory = watchMemory()
  await v2.sendFile({ ...alice, server: server.address }, 'bob', path, memory.sample)
  assert.ok(received > fileBytes)
  assert.ok(memory.most < allowed, `${memory.most} bytes`)
})

test('a file of 300 MB is received without holding it in memory', async () => {
  await using world = await World.start()
  const { alice, bob, key } = await world.pair()
  const contentBytes = fileBytes + 16
  const header = encode(Delivered, { sender: await idOf(alice), message: 1, type: 'file', contentBytes })
  await using server = await startRaw((socket) => {
    const cipher = createCipheriv('aes-128-cbc', key, Buffer.alloc(16))
    const piece = Buffer.alloc(100_000)
    let left = fileBytes / piece.length
    const more = (): void => {
      while (left > 0) {
        left -= 1
        if (!socket.write(cipher.update(piece))) return
      }
      if (left-- === 0) socket.write(cipher.final())
    }
    socket.once('data', () => {
      socket.write(Buffer.concat([answerHeader('fetch', header.length + contentBytes), header]))
      more()
    })
    socket.on('drain', more)
    socket.on('end', () => socket.end())
  })
  const memory = watchMemory()
  const timer = setInterval(memory.sample, 20)
  const options = { save: saveFolder(bob), onProgress: memory.sample }
  for await (const reading of v2.read({ ...bob, server: server.address }, options)) {
    assert.ok(reading.kind === 'message' && reading.content.kind === 'file')
    assert.equal((await stat(reading.content.path)).size, fileBytes)
  }
  clearInterval(timer)
  assert.ok(memory.most < allowed, `${memory.most} bytes`)
})

/** Servers that do nothing but what the network asks for: the limits that ours is measured against. */

import { once } from 'node:events'
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { serveTasks } from './children.ts'
import { loopDelayMeter } from './measure.ts'

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    onConnection(socket)
  })
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not listening')
  return address.port
}

const writeBytes = 2 ** 20

export const tasks = {
  /** Accept, read a request of so many bytes, answer so many bytes from memory, close. */
  answer({ requestBytes, answerBytes }: { requestBytes: number; answerBytes: number }): Promise<number> {
    const answer = Buffer.alloc(answerBytes, 2)
    return listen((socket) => {
      let read = 0
      socket.on('data', (chunk) => {
        read += chunk.length
        if (read === requestBytes) socket.end(answer)
      })
    })
  },

  loopDelay: loopDelayMeter(),

  /** Receive so many bytes, drop them, answer one byte. */
  drop(bytes: number): Promise<number> {
    return listen((socket) => {
      let read = 0
      socket.on('data', (chunk) => {
        read += chunk.length
        if (read >= bytes) socket.end(Buffer.alloc(1))
      })
    })
  },

  /** Answer any request with so many bytes from memory in writes of 1 MiB. */
  send(bytes: number): Promise<number> {
    const piece = Buffer.alloc(writeBytes, 1)
    return listen((socket) => {
      socket.once('data', () => {
        let sent = 0
        const more = (): void => {
          while (sent < bytes) {
            const next = piece.subarray(0, Math.min(piece.length, bytes - sent))
            sent += next.length
            if (!socket.write(next)) {
              socket.once('drain', more)
              return
            }
          }
          socket.end()
        }
        more()
      })
    })
  },

  /** Bytes per second into a new file in writes of 1 MiB, with the final fdatasync. */
  writeFile({ file, bytes }: { file: string; bytes: number }): number {
    const piece = Buffer.alloc(writeBytes, 3)
    const start = performance.now()
    const descriptor = openSync(file, 'wx')
    for (let written = 0; written < bytes; )
      written += writeSync(descriptor, piece, 0, Math.min(piece.length, bytes - written))
    fdatasyncSync(descriptor)
    closeSync(descriptor)
    const rate = (bytes / (performance.now() - start)) * 1000
    rmSync(file)
    return rate
  },
}

serveTasks(tasks)

/** The load generator: connections per request, and streams. Knows nothing of what it sends. */
import { connect, type Socket } from 'node:net'
import { serveTasks } from './children.ts'
import { percentile } from './measure.ts'

interface Requests {
  readonly port: number
  /** The request, in base64. */
  readonly request: string
  readonly count: number
  readonly concurrency: number
  /** Where a counter is written into the request as ten digits, so that each is different. */
  readonly counterAt?: number
}

let counter = 0

export const tasks = {
  /** Connects, sends, reads to the end, closes; so often, with so many at once. Requests per second and p50 in ms. */
  async requests({ port, request, count, concurrency, counterAt }: Requests): Promise<{ rate: number; p50: number }> {
    const bytes = Buffer.from(request, 'base64')
    const times: number[] = []
    let started = 0
    const lane = async (): Promise<void> => {
      while (started < count) {
        started += 1
        const each = counterAt === undefined ? bytes : Buffer.from(bytes)
        if (counterAt !== undefined) each.write(String(++counter).padStart(10, '0'), counterAt)
        const start = performance.now()
        const answered = await exchange(port, each)
        if (answered <= 7 && counterAt !== undefined) throw new Error('a request was refused')
        times.push(performance.now() - start)
      }
    }
    const start = performance.now()
    await Promise.all(Array.from({ length: concurrency }, lane))
    return { rate: (count / (performance.now() - start)) * 1000, p50: percentile(times, 0.5) }
  },

  /** Sends a head and so many bytes, waits for the answer. Bytes per second. */
  async upload({ port, head, bytes }: { port: number; head: string; bytes: number }): Promise<number> {
    const piece = Buffer.alloc(2 ** 18, 5)
    const start = performance.now()
    const socket = await dial(port)
    const answered = drain(socket)
    socket.write(Buffer.from(head, 'base64'))
    let sent = 0
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      const more = (): void => {
        while (sent < bytes) {
          const next = piece.subarray(0, Math.min(piece.length, bytes - sent))
          sent += next.length
          if (!socket.write(next)) {
            socket.once('drain', more)
            return
          }
        }
        resolve()
      }
      more()
    })
    const answer = await answered
    if (answer === 7) throw new Error('the upload was refused')
    socket.end()
    return (bytes / (performance.now() - start)) * 1000
  },

  /** Sends a request and reads everything into one buffer that is used again and again. Bytes per second. */
  async download({ port, request }: { port: number; request: string }): Promise<{ rate: number; bytes: number }> {
    const start = performance.now()
    let bytes = 0
    await new Promise<void>((resolve, reject) => {
      const buffer = Buffer.alloc(2 ** 20)
      const onread = {
        buffer,
        callback(count: number) {
          bytes += count
          return true
        },
      }
      const socket = connect({ port, host: '127.0.0.1', onread }, () => socket.write(Buffer.from(request, 'base64')))
      socket.once('error', reject)
      socket.once('close', () => resolve())
    })
    return { rate: (bytes / (performance.now() - start)) * 1000, bytes }
  },
}

function exchange(port: number, request: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    let read = 0
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(request))
    socket.on('data', (chunk: Buffer) => {
      read += chunk.length
    })
    socket.once('error', reject)
    socket.once('close', () => resolve(read))
  })
}

function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => resolve(socket))
    socket.once('error', reject)
  })
}

function drain(socket: Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    let read = 0
    socket.on('data', (chunk: Buffer) => {
      read += chunk.length
    })
    socket.once('error', reject)
    socket.once('end', () => resolve(read))
  })
}

serveTasks(tasks)

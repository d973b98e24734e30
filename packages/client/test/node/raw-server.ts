import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { subprotocol } from '../../src/transport.ts'

/** Somebody who has asked for a WebSocket, and whoever says what comes back, byte by byte. */
export interface Caller {
  readonly socket: Socket
  /** The head of the request, by lines. */
  readonly request: readonly string[]
  /** The lines of an answer that agrees, with some of them different or left out. */
  agreement(changes?: Readonly<Record<string, string | undefined>>): string
  /** Everything that came behind the request, so far. */
  readonly bytes: () => Buffer
  /** When the connection has been closed from the other side. */
  readonly gone: Promise<unknown>
}

export interface RawServer extends AsyncDisposable {
  readonly port: number
  /** The first caller. */
  readonly caller: Promise<Caller>
}

/** Listens on loopback, and answers each request for a WebSocket as it is told. It never ends a connection of its own. */
export async function rawServer(answer: (caller: Caller) => void = () => {}): Promise<RawServer> {
  const sockets = new Set<Socket>()
  const first = Promise.withResolvers<Caller>()
  const tcp = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    const gone = new Promise((resolve) => socket.on('close', resolve))
    let received: Buffer = Buffer.alloc(0)
    let head: string | undefined
    socket.on('end', () => setImmediate(() => socket.destroy()))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      const end = received.indexOf('\r\n\r\n')
      if (head !== undefined || end === -1) return
      head = received.toString('latin1', 0, end)
      received = received.subarray(end + 4)
      const request = head.split('\r\n')
      const caller = { socket, request, gone, bytes: () => received, agreement: agreementTo(request) }
      first.resolve(caller)
      answer(caller)
    })
  })
  tcp.listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  return {
    port: (tcp.address() as AddressInfo).port, // of a TCP listener
    caller: first.promise,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      tcp.close()
    },
  }
}

/** Everything that the request says under one name. */
export function field(request: readonly string[], name: string): string | undefined {
  return request.find((line) => line.toLowerCase().startsWith(`${name}: `))?.slice(name.length + 2)
}

function agreementTo(request: readonly string[]): Caller['agreement'] {
  const key = field(request, 'sec-websocket-key') ?? ''
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  return (changes = {}) => {
    const fields: Record<string, string | undefined> = {
      Upgrade: 'websocket',
      Connection: 'Upgrade',
      'Sec-WebSocket-Accept': accept,
      'Sec-WebSocket-Protocol': subprotocol,
      ...changes,
    }
    const lines = Object.entries(fields).flatMap(([name, value]) =>
      value === undefined ? [] : `${name}: ${value}\r\n`,
    )
    return `HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`
  }
}
